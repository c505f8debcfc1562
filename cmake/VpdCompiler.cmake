# Compiler settings, and vpd_target(), which gives them to one of our own targets.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CUDA_STANDARD 17)  # the newest that CMake 3.25 knows for nvcc
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# Not where files compile together. Such a build begins from nothing: filling the cache makes it a tenth longer, and later one
# file that changed is a miss for all that compile with it.
find_program(VPD_CCACHE ccache)
if(VPD_CCACHE AND NOT VPD_TOGETHER AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Precompiled headers need both sloppiness settings; the base directory lets clones in different places share hits. By the
  # compiler's list of dependencies instead of a run of the preprocessor, which would read the precompiled header once more.
  set(launcher env "CCACHE_SLOPPINESS=pch_defines,time_macros" "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_DEPEND=1
      "${VPD_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${launcher})
endif()

# A precompiled header is used only by files compiled with the very flags it was made with, so every C++ target gets
# the same ones. -fPIC instead of CMake's property, which means -fPIC for libraries and -fPIE for programs.
# -fopenmp is not optional: without it the headers of LibTorch turn at::parallel_for into a serial loop.
set(VPD_CXX_FLAGS -Wall -Wextra -Wpedantic -Wshadow $<$<BOOL:${VPD_WERROR}>:-Werror> -fPIC -fno-semantic-interposition -fopenmp)

# The kernels' loops want the widest vectors of the machine. A named level rather than -march=native, so that a binary runs
# on every machine of that level and ccache never mixes two machines up.
set(VPD_CPU_LEVEL AUTO CACHE STRING "x86-64 level to compile for: AUTO (this machine's), x86-64-v2, -v3, -v4, or NONE")
set(VPD_VECTOR_WIDTH "")
if(VPD_CPU_LEVEL STREQUAL "AUTO")
  set(VPD_DETECTED_LEVEL NONE)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND EXISTS /proc/cpuinfo)
    file(STRINGS /proc/cpuinfo cpu_flags REGEX "^flags" LIMIT_COUNT 1)
    if(cpu_flags MATCHES " avx2" AND cpu_flags MATCHES " fma" AND cpu_flags MATCHES " bmi2")
      set(VPD_DETECTED_LEVEL x86-64-v3)
    endif()
    if(cpu_flags MATCHES " avx512f" AND cpu_flags MATCHES " avx512bw" AND cpu_flags MATCHES " avx512dq" AND cpu_flags MATCHES " avx512vl")
      set(VPD_DETECTED_LEVEL x86-64-v4)
    endif()
  endif()
else()
  set(VPD_DETECTED_LEVEL ${VPD_CPU_LEVEL})
endif()
if(NOT VPD_DETECTED_LEVEL STREQUAL "NONE")
  list(APPEND VPD_CXX_FLAGS -march=${VPD_DETECTED_LEVEL})
  if(VPD_DETECTED_LEVEL STREQUAL "x86-64-v4")
    set(VPD_VECTOR_WIDTH -mprefer-vector-width=512)
  endif()
endif()
message(STATUS "CPU level: ${VPD_DETECTED_LEVEL}")

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND VPD_CXX_FLAGS -Wno-missing-field-initializers)  # designated initialisers leave defaults out on purpose
  list(APPEND VPD_CXX_FLAGS -Wno-restrict -Wno-array-bounds)  # g++ 12 sees them in std::string, where they are not (GCC bug 105651)
  list(APPEND VPD_CXX_FLAGS -fpch-preprocess)  # lets ccache cache files that use a precompiled header
endif()
if(VPD_TOGETHER)
  # More is inlined into one another than file by file, and GCC 12 then takes the unused members of a variant for ones that are read,
  # and a long std::string for a short one that is overrun. A local name may hide one of a file that stands before it.
  list(APPEND VPD_CXX_FLAGS -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-stringop-overread -Wno-shadow)
endif()
if(VPD_WERROR)
  set(VPD_CUDA_FLAGS -Xcompiler=-Wall,-Wextra,-Wshadow,-Werror,-fPIC -Werror=all-warnings)
else()
  set(VPD_CUDA_FLAGS -Xcompiler=-Wall,-Wextra,-Wshadow,-fPIC)
endif()
if(VPD_SANITIZE)
  # LibTorch's type information is not all visible, which makes the vptr check report errors that are none.
  set(VPD_SANITIZE_FLAGS -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined)
  # What the sanitizers add hides from GCC 12 that std::regex and std::string set what they read.
  list(APPEND VPD_CXX_FLAGS -fno-omit-frame-pointer -Wno-maybe-uninitialized -Wno-stringop-overread -Wno-stringop-overflow)
endif()

# VPD_WITH_CUDA is defined for every file of the build and in no public header.
function(vpd_target target)
  target_compile_definitions(${target} PRIVATE "$<$<BOOL:${VPD_WITH_CUDA}>:VPD_WITH_CUDA>")
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${VPD_CXX_FLAGS}>"
                                           "$<$<COMPILE_LANGUAGE:CUDA>:${VPD_CUDA_FLAGS}>")
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${VPD_SANITIZE_FLAGS}>")
endfunction()

# Few optimisations, where nothing takes long when it runs: two thirds of the time to compile, or less.
set(VPD_QUICK_FLAGS "$<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O1>")

# A test or a benchmark: linked with the library and compiled with the precompiled header of its quick rooms.
function(vpd_executable target)
  vpd_target(${target})
  target_compile_options(${target} PRIVATE ${VPD_QUICK_FLAGS})
  target_link_libraries(${target} PRIVATE vpd::vpd)
  target_precompile_headers(${target} REUSE_FROM vpd_quick)
endfunction()
