#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/kernels/late_value.hpp"
#include "vpd/machine/numerics.hpp"

namespace vpd {

/// The numbers and keys that change from step to step, in the device's memory where a captured step reads
/// them: one small copy before each step in place of new launch parameters.
///
/// Each has a name. What is asked for the first time gets a place that counts from the next step on, and is
/// given by value until then; so the steps before a capture find out what has to be there. Without a device
/// block (`late` false) everything is given by value.
class LateBlock {
 public:
  LateBlock(const Numerics& numerics, std::uint64_t seed, bool late);

  /// Begins a step: every key is made anew for it. Numbers keep their last values until they are asked for.
  void begin(std::int64_t step);

  LateNumber number(const std::string& name, double now);
  /// The same as a zero-dimensional float32 tensor, for operations of LibTorch's.
  at::Tensor scalar(const std::string& name, double now);
  /// make_key(seed, purpose, step, term, which).
  LateKey key(RandomPurpose purpose, std::uint64_t term, std::uint64_t which);

  /// Brings the device's memory up to date, in order with the current stream. After all numbers of the step
  /// were asked for, before its work is launched.
  void upload();

  bool late() const { return late_; }
  bool on_cuda() const { return device_.defined() && device_.is_cuda(); }

 private:
  template <class Name>
  std::int64_t place(std::map<Name, std::int64_t>& places, const Name& name);

  using KeyName = std::tuple<RandomPurpose, std::uint64_t, std::uint64_t>;

  std::uint64_t seed_;
  std::int64_t step_ = 0;
  bool late_;
  std::mutex mutex_;  // lanes ask for keys at the same time
  std::map<std::string, std::int64_t> numbers_, scalars_;
  std::map<KeyName, std::int64_t> keys_;
  std::int64_t used_ = 0;           // words that have a name
  std::int64_t ready_ = 0;          // words that were up to date when this step began
  std::vector<std::int64_t> host_;  // words of 64 bits: a double, a key, or a float in the first half
  at::Tensor device_;               // int64 [capacity]
};

}  // namespace vpd
