#pragma once

#include <functional>
#include <memory>

#include <ATen/core/Tensor.h>

namespace vpd {

/// A sequence of CUDA work that is launched as one. Capturing runs `work` on the host alone: every kernel
/// that it would launch becomes a node of the graph, with the parameters and the memory of that time.
/// Whatever must differ from launch to launch has to be read from memory (Late), and `work` may neither wait
/// for the device nor use memory that is freed before the last replay. Memory that `work` allocates stays
/// with the graph.
class CudaGraph {
 public:
  CudaGraph();
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  /// Records `work`, which must have run once or twice before, so that libraries are set up on every thread
  /// that it uses. The current stream must be one of a SideStream. What LibTorch holds of freed memory goes
  /// back first, since a graph cannot use it.
  void capture(const std::function<void()>& work);
  bool captured() const;
  /// Launches the graph on the current stream.
  void replay();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// While it lives, work of this thread goes to a CUDA stream that can be captured, in order with what the
/// stream before had to do; the stream before waits for it at the end. Nothing on a CPU.
class SideStream {
 public:
  explicit SideStream(const at::Device& device);
  ~SideStream();
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vpd
