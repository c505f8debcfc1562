#include "vpd/training/late_block.hpp"

#include <bit>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"

namespace vpd {
namespace {

constexpr std::int64_t capacity = 4096;
static_assert(sizeof(RandomKey) == sizeof(std::int64_t) && std::endian::native == std::endian::little);

std::int64_t bits_of(RandomKey key) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(key.high) << 32 | key.low);
}

}  // namespace

LateBlock::LateBlock(const Numerics& numerics, std::uint64_t seed, bool late) : seed_(seed), late_(late) {
  if (!late) return;
  host_.resize(static_cast<std::size_t>(capacity));
  device_ = at::zeros({capacity}, at::TensorOptions().dtype(at::kLong).device(numerics.device));
}

template <class Name>
std::int64_t LateBlock::place(std::map<Name, std::int64_t>& places, const Name& name) {
  const auto [found, is_new] = places.try_emplace(name, used_);
  if (is_new) ++used_;
  VPD_CHECK(used_ <= capacity, UsageError,
            "a captured step holds at most {} numbers and keys: switch training.cuda_graph off", capacity);
  return found->second;
}

void LateBlock::begin(std::int64_t step) {
  step_ = step;
  ready_ = used_;
  for (const auto& [name, word] : keys_) {
    const auto& [purpose, term, which] = name;
    host_[static_cast<std::size_t>(word)] =
        bits_of(make_key(seed_, purpose, static_cast<std::uint64_t>(step), term, which));
  }
}

LateNumber LateBlock::number(const std::string& name, double now) {
  if (!late_) return now;
  const std::int64_t word = place(numbers_, name);
  host_[static_cast<std::size_t>(word)] = std::bit_cast<std::int64_t>(now);
  if (word >= ready_) return now;
  return {now, reinterpret_cast<const double*>(device_.const_data_ptr<std::int64_t>() + word)};
}

at::Tensor LateBlock::scalar(const std::string& name, double now) {
  const auto narrow = static_cast<float>(now);
  const at::TensorOptions options =
      device_.defined() ? device_.options().dtype(at::kFloat) : at::TensorOptions().dtype(at::kFloat);
  if (!late_) return at::full({}, narrow, options);
  const std::int64_t word = place(scalars_, name);
  host_[static_cast<std::size_t>(word)] =
      static_cast<std::int64_t>(static_cast<std::uint64_t>(std::bit_cast<std::uint32_t>(narrow)));
  if (word >= ready_) return at::full({}, narrow, options);
  return device_.narrow(0, word, 1).view(at::kFloat)[0];
}

LateKey LateBlock::key(RandomPurpose purpose, std::uint64_t term, std::uint64_t which) {
  const RandomKey now = make_key(seed_, purpose, static_cast<std::uint64_t>(step_), term, which);
  if (!late_) return now;
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::int64_t word = place(keys_, KeyName{purpose, term, which});
  host_[static_cast<std::size_t>(word)] = bits_of(now);
  if (word >= ready_) return now;
  return {now, reinterpret_cast<const RandomKey*>(device_.const_data_ptr<std::int64_t>() + word)};
}

void LateBlock::upload() {
  if (!late_ || ready_ == 0) return;
  // Out of a copy of their own, which lasts until the device has read it: the host may go on to the next
  // step's numbers while the device still works on this one.
  at::Tensor words = at::from_blob(host_.data(), {ready_}, at::TensorOptions().dtype(at::kLong));
  if (device_.is_cuda()) words = words.pin_memory();
  device_.narrow(0, 0, ready_).copy_(words, /*non_blocking=*/true);
}

}  // namespace vpd
