#include "vpd/machine/cuda_graph.hpp"

#ifdef VPD_WITH_CUDA
#include <map>

#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include "vpd/base/error.hpp"

namespace vpd {

#ifdef VPD_WITH_CUDA

struct CudaGraph::Impl {
  at::cuda::CUDAGraph graph;
  bool captured = false;
};

void CudaGraph::capture(const std::function<void()>& work) {
  c10::cuda::CUDACachingAllocator::emptyCache();
  // Thread-local would not do: the backward pass runs on a thread of LibTorch's own.
  impl_->graph.capture_begin({0, 0}, cudaStreamCaptureModeGlobal);
  try {
    work();
  } catch (...) {
    try {
      impl_->graph.capture_end();
    } catch (const c10::Error&) {  // the first error is the one to tell of
    }
    throw;
  }
  impl_->graph.capture_end();
  impl_->captured = true;
}

void CudaGraph::replay() { impl_->graph.replay(); }

struct SideStream::Impl {
  explicit Impl(const at::Device& device)
      : before(c10::cuda::getCurrentCUDAStream(device.index())), side(stream_of(device)), guard(side) {
    order(before, side);
  }
  ~Impl() {
    try {
      order(side, before);
    } catch (const c10::Error&) {
      // The device is lost. Where that threw, its error is on the way already; else the next call reports it.
    }
  }

  /// One stream for all that a thread does on a device: a graph's memory is safe from other streams only
  /// where all use of it is on the stream of the capture.
  static c10::cuda::CUDAStream stream_of(const at::Device& device) {
    thread_local std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
    const auto found = streams.find(device.index());
    if (found != streams.end()) return found->second;
    return streams
        .emplace(device.index(), c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()))
        .first->second;
  }
  static void order(const c10::cuda::CUDAStream& first, const c10::cuda::CUDAStream& then) {
    at::cuda::CUDAEvent event;
    event.record(first);
    event.block(then);
  }

  c10::cuda::CUDAStream before, side;
  c10::cuda::CUDAStreamGuard guard;
};

SideStream::SideStream(const at::Device& device)
    : impl_(device.is_cuda() ? std::make_unique<Impl>(device) : nullptr) {}

#else

struct CudaGraph::Impl {
  bool captured = false;
};
struct SideStream::Impl {};

void CudaGraph::capture(const std::function<void()>&) {
  throw UsageError("this build computes on CPUs alone and cannot capture CUDA graphs");
}
void CudaGraph::replay() { throw UsageError("there is no CUDA graph to launch in this build"); }

SideStream::SideStream(const at::Device&) {}

#endif

CudaGraph::CudaGraph() : impl_(std::make_unique<Impl>()) {}
CudaGraph::~CudaGraph() = default;
bool CudaGraph::captured() const { return impl_->captured; }

SideStream::~SideStream() = default;

}  // namespace vpd
