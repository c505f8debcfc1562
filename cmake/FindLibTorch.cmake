# Finds LibTorch: a wheel of PyTorch or an unpacked LibTorch archive.
#
# LibTorch's own package file stops with an error wherever the CUDA toolkit is missing, even for a CPU-only program
# built against the CUDA wheel, and adds its architectures to CMAKE_CUDA_FLAGS; we need neither, only where its headers
# and libraries are.
#
# Searched: each directory of CMAKE_PREFIX_PATH (LibTorch's root, or its share/cmake as torch.utils.cmake_prefix_path
# says), then LibTorch_FALLBACK. Targets: LibTorch::cpu, and LibTorch::cuda where LibTorch is built with CUDA.
# Variables: LibTorch_ROOT, LibTorch_VERSION, LibTorch_CUDA_FOUND, LibTorch_CUDA_LIBRARY, and LibTorch_LIBRARY_DIRS for
# run paths.

set(_candidates "")
foreach(_prefix IN LISTS CMAKE_PREFIX_PATH)
  list(APPEND _candidates "${_prefix}" "${_prefix}/../..")
endforeach()
if(DEFINED ENV{CMAKE_PREFIX_PATH})
  string(REPLACE ":" ";" _environment "$ENV{CMAKE_PREFIX_PATH}")
  foreach(_prefix IN LISTS _environment)
    list(APPEND _candidates "${_prefix}" "${_prefix}/../..")
  endforeach()
endif()
list(APPEND _candidates ${LibTorch_FALLBACK})

unset(LibTorch_ROOT)
foreach(_candidate IN LISTS _candidates)
  if(EXISTS "${_candidate}/lib/libtorch_cpu.so" AND EXISTS "${_candidate}/include/ATen/ATen.h")
    get_filename_component(LibTorch_ROOT "${_candidate}" ABSOLUTE)
    break()
  endif()
endforeach()

set(LibTorch_VERSION "")
if(LibTorch_ROOT)
  # Newer releases keep the numbers in headeronly/version.h, older ones in api/include/torch/version.h.
  foreach(_header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
    if(NOT LibTorch_VERSION AND EXISTS "${LibTorch_ROOT}/include/${_header}")
      file(STRINGS "${LibTorch_ROOT}/include/${_header}" _numbers REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
      string(REGEX MATCHALL "[0-9]+" _numbers "${_numbers}")
      list(JOIN _numbers "." LibTorch_VERSION)
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch REQUIRED_VARS LibTorch_ROOT VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "run tools/setup, or pass -DCMAKE_PREFIX_PATH=<directory of LibTorch>")

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  # LibTorch ships headers of a newer {fmt} than the one spdlog is compiled with. Ours must be found first, and a
  # link of its own avoids putting all of /usr/include there.
  find_package(fmt REQUIRED)
  get_target_property(_fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
  list(GET _fmt_include 0 _fmt_include)
  set(_first "${CMAKE_BINARY_DIR}/include-before-libtorch")
  file(MAKE_DIRECTORY "${_first}")
  file(CREATE_LINK "${_fmt_include}/fmt" "${_first}/fmt" SYMBOLIC)

  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION "${LibTorch_ROOT}/lib/libc10.so")
  add_library(LibTorch::cpu SHARED IMPORTED)
  set_target_properties(LibTorch::cpu PROPERTIES IMPORTED_LOCATION "${LibTorch_ROOT}/lib/libtorch_cpu.so")
  target_include_directories(
    LibTorch::cpu INTERFACE "${_first}" "${LibTorch_ROOT}/include" "${LibTorch_ROOT}/include/torch/csrc/api/include")
  target_link_libraries(LibTorch::cpu INTERFACE LibTorch::c10 fmt::fmt)
endif()

set(LibTorch_CUDA_FOUND FALSE)
set(LibTorch_CUDA_LIBRARY "")
set(LibTorch_LIBRARY_DIRS "${LibTorch_ROOT}/lib")
if(LibTorch_FOUND AND EXISTS "${LibTorch_ROOT}/lib/libtorch_cuda.so")
  set(LibTorch_CUDA_FOUND TRUE)
  set(LibTorch_CUDA_LIBRARY "${LibTorch_ROOT}/lib/libtorch_cuda.so")
  # The process must hold one CUDA runtime only: the one that LibTorch loads, which a wheel keeps beside itself.
  get_filename_component(_packages "${LibTorch_ROOT}" DIRECTORY)
  file(GLOB _cudart "${_packages}/nvidia/cu*/lib/libcudart.so.*")
  if(_cudart)
    list(GET _cudart 0 _cudart)
  else()
    find_library(LibTorch_CUDART cudart HINTS ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES lib64 lib)
    set(_cudart "${LibTorch_CUDART}")
  endif()
  get_filename_component(_directory "${_cudart}" DIRECTORY)
  list(APPEND LibTorch_LIBRARY_DIRS "${_directory}")

  if(NOT TARGET LibTorch::cuda)
    add_library(LibTorch::c10_cuda SHARED IMPORTED)
    set_target_properties(LibTorch::c10_cuda PROPERTIES IMPORTED_LOCATION "${LibTorch_ROOT}/lib/libc10_cuda.so")
    add_library(LibTorch::cuda INTERFACE IMPORTED)
    # libtorch_cuda registers the CUDA backend when it is loaded; nothing refers to it, so a linker that drops unused
    # libraries must be told to keep it.
    target_link_libraries(
      LibTorch::cuda INTERFACE "-Wl,--push-state,--no-as-needed,${LibTorch_CUDA_LIBRARY},--pop-state"
                               LibTorch::c10_cuda LibTorch::cpu "${_cudart}")
  endif()
endif()
