# What vpd is built from: the Debian packages, LibTorch, and CUDA where it is wanted. Sets VPD_WITH_CUDA.

find_package(Threads REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(ZLIB REQUIRED)

# The charts of `vpd report`: one file of JavaScript, which the page carries along.
find_file(VPD_D3 d3.min.js PATHS /usr/share/nodejs/d3/dist /usr/share/javascript/d3 NO_DEFAULT_PATH)
find_file(VPD_D3_LICENCE copyright PATHS /usr/share/doc/node-d3 NO_DEFAULT_PATH)
if(VPD_D3)
  message(STATUS "D3: ${VPD_D3}")
else()
  set(VPD_D3 "")
  message(STATUS "D3: not found; `vpd report` will say what to install")
endif()

# LibTorch is searched on CMAKE_PREFIX_PATH first, then in the wheel that tools/setup installs.
set(LibTorch_FALLBACK "")
if(EXISTS "${PROJECT_SOURCE_DIR}/.venv/bin/python")
  execute_process(
    COMMAND "${PROJECT_SOURCE_DIR}/.venv/bin/python" -c
            "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE LibTorch_FALLBACK OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
find_package(LibTorch REQUIRED)
list(APPEND CMAKE_INSTALL_RPATH ${LibTorch_LIBRARY_DIRS})

set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tools/libtorch.txt")
file(STRINGS "${PROJECT_SOURCE_DIR}/tools/libtorch.txt" pin REGEX "^torch==")
string(REGEX MATCH "[0-9.]+" pin "${pin}")
if(LibTorch_VERSION VERSION_EQUAL pin)
  message(STATUS "LibTorch ${LibTorch_VERSION}: ${LibTorch_ROOT}")
else()
  message(WARNING "LibTorch at ${LibTorch_ROOT} is version ${LibTorch_VERSION}, but vpd is developed and tested with "
                  "${pin} (tools/libtorch.txt): if the build fails, run tools/setup and leave CMAKE_PREFIX_PATH unset.")
endif()

# oneDNN multiplies float32 matrices on the CPU; without it LibTorch's own products do.
find_library(VPD_ONEDNN_LIBRARY dnnl)
if(VPD_ONEDNN_LIBRARY)
  message(STATUS "oneDNN: ${VPD_ONEDNN_LIBRARY}")
else()
  set(VPD_ONEDNN_LIBRARY "")
  message(STATUS "oneDNN: not found; matrix products on the CPU go through LibTorch")
endif()

if(NOT VPD_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "VPD_CUDA is '${VPD_CUDA}': expected AUTO, ON or OFF.")
endif()
set(VPD_WITH_CUDA OFF)
if(NOT VPD_CUDA STREQUAL "OFF")
  if(NOT CMAKE_CUDA_COMPILER)
    find_program(VPD_NVCC nvcc HINTS ENV CUDACXX ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
    if(VPD_NVCC)
      set(CMAKE_CUDA_COMPILER "${VPD_NVCC}" CACHE FILEPATH "CUDA compiler")
    endif()
  endif()
  if(CMAKE_CUDA_COMPILER AND LibTorch_CUDA_FOUND)
    set(VPD_WITH_CUDA ON)
  elseif(VPD_CUDA STREQUAL "ON")
    message(FATAL_ERROR "VPD_CUDA=ON needs nvcc (found: '${CMAKE_CUDA_COMPILER}') and a LibTorch built with CUDA "
                        "(found: '${LibTorch_CUDA_LIBRARY}'): set CMAKE_CUDA_COMPILER, or build with -DVPD_CUDA=OFF.")
  endif()
endif()

if(VPD_WITH_CUDA)
  # Machine code only: a kernel translated from PTX at start-up costs more than a missing architecture's clear error.
  list(TRANSFORM VPD_CUDA_ARCHITECTURES APPEND "-real" OUTPUT_VARIABLE CMAKE_CUDA_ARCHITECTURES)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION}, architectures ${VPD_CUDA_ARCHITECTURES}")
else()
  message(STATUS "CUDA: off")
endif()

# Several processes share a run through LibTorch's process groups: Gloo on CPUs, and to agree on when to stop; NCCL on
# GPUs. LibTorch leaves Gloo's headers out.
if(NOT VPD_PROCESSES MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "VPD_PROCESSES is '${VPD_PROCESSES}': expected AUTO, ON or OFF.")
endif()
set(VPD_WITH_GLOO OFF)
set(VPD_WITH_NCCL OFF)
if(NOT VPD_PROCESSES STREQUAL "OFF")
  find_path(VPD_GLOO_INCLUDE gloo/context.h)
  if(VPD_GLOO_INCLUDE AND EXISTS "${LibTorch_ROOT}/include/torch/csrc/distributed/c10d/ProcessGroupGloo.hpp")
    set(VPD_WITH_GLOO ON)
  elseif(VPD_PROCESSES STREQUAL "ON")
    message(FATAL_ERROR "VPD_PROCESSES=ON needs Gloo's headers (libgloo-dev) and a LibTorch with process groups: install "
                        "them, or build with -DVPD_PROCESSES=OFF.")
  endif()
  # LibTorch's own NCCL first: its process group holds structs of that version.
  find_path(VPD_NCCL_INCLUDE nccl.h HINTS "${LibTorch_ROOT}/../nvidia/nccl/include" ${CUDAToolkit_INCLUDE_DIRS})
  if(VPD_WITH_GLOO AND VPD_WITH_CUDA AND VPD_NCCL_INCLUDE)
    set(VPD_WITH_NCCL ON)
  endif()
endif()
message(STATUS "Several processes: Gloo ${VPD_WITH_GLOO}, NCCL ${VPD_WITH_NCCL}")
