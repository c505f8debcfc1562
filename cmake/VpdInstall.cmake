# Installation, and the package that find_package(vpd) reads.

include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/vpd")
install(TARGETS vpd EXPORT vpdTargets)
install(TARGETS vpd_program)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/vpd" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT vpdTargets NAMESPACE vpd:: DESTINATION "${package_dir}")

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/vpdConfig.cmake.in"
                              "${PROJECT_BINARY_DIR}/vpdConfig.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/vpdConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/vpdConfig.cmake" "${PROJECT_BINARY_DIR}/vpdConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/FindLibTorch.cmake" DESTINATION "${package_dir}")
