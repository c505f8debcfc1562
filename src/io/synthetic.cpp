#include "vpd/io/synthetic.hpp"

#include <algorithm>
#include <array>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "vpd/base/error.hpp"

namespace vpd {
namespace {

using Words = std::array<std::uint32_t, 4>;

/// Four random words of a row; `block` counts them within the row.
Words draw(RandomKey key, std::int64_t row, std::uint32_t block) {
  const auto number = static_cast<std::uint64_t>(row);
  Words x = {static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(number >> 32), block, 0};
  philox(key, x[0], x[1], x[2], x[3]);
  return x;
}

/// Uniform over 0 … count - 1, to within count / 2^32.
std::int64_t below(std::uint32_t word, std::int64_t count) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(word) * static_cast<std::uint64_t>(count) >>
                                   32);
}

void check_rows(std::int64_t position, std::int64_t count) {
  VPD_CHECK(position >= 0 && count >= 1, UsageError,
            "expected a position of at least 0 and at least 1 row, found position {} and {} rows", position,
            count);
}

RandomKey key_of(std::uint64_t seed, RandomPurpose purpose, DataRole role) {
  return make_key(seed, purpose, static_cast<std::uint64_t>(role));
}

}  // namespace

SparseFeatures::SparseFeatures(const SparseFeaturesData& config, std::int64_t features, std::uint64_t seed,
                               DataRole role)
    : config_(config),
      features_(features),
      only_(config.only),
      low_(static_cast<float>(config.range.at(0))),
      high_(static_cast<float>(config.range.at(1))),
      key_(key_of(seed, RandomPurpose::sparse_features, role)) {
  for (std::int64_t i = 0; config.only.empty() && i < features; ++i) only_.push_back(i);
  VPD_CHECK(only_.back() < features, UsageError,
            "expected features below {} that may be active, found {} (`only`)", features, only_.back());
  const auto count = static_cast<std::int64_t>(only_.size());
  VPD_CHECK(active_features(config.generation) <= count, UsageError,
            "expected at least {} features for that many active ones in a row, found {}",
            active_features(config.generation), count);
}

void SparseFeatures::fill(std::int64_t position, float* row) const {
  const std::int64_t active = active_features(config_.generation);
  const auto count = static_cast<std::int64_t>(only_.size());
  const auto feature_at = [&](std::int64_t i) -> float& { return row[only_[static_cast<std::size_t>(i)]]; };
  if (active == 0) {
    const auto probability = static_cast<float>(config_.probability.value());
    for (std::int64_t i = 0; i < count; i += 2) {
      const Words x = draw(key_, position, static_cast<std::uint32_t>(i));
      if (to_uniform(x[0]) < probability) feature_at(i) = value(x[1]);
      if (i + 1 < count && to_uniform(x[2]) < probability) feature_at(i + 1) = value(x[3]);
    }
    return;
  }
  // A random subset without repetition (R. W. Floyd, "Programming Pearls: a sample of brilliance", 1987).
  std::array<std::int64_t, 8> chosen{};
  const auto end = [&](std::int64_t made) { return chosen.begin() + made; };
  for (std::int64_t i = 0; i < active; ++i) {
    const Words x = draw(key_, position, static_cast<std::uint32_t>(i));
    const std::int64_t last = count - active + i, drawn = below(x[0], last + 1);
    const bool taken = std::find(chosen.begin(), end(i), drawn) != end(i);
    const std::int64_t feature = taken ? last : drawn;
    *end(i) = feature;
    feature_at(feature) = value(x[1]);
  }
}

at::Tensor SparseFeatures::batch(std::int64_t position, std::int64_t count) const {
  check_rows(position, count);
  at::Tensor rows = at::zeros({count, features_}, at::TensorOptions().dtype(at::kFloat).device(at::kCPU));
  auto* values = rows.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < count; ++i) fill(position + i, values + i * features_);
  return rows;
}

std::string SparseFeatures::describe() const {
  const std::int64_t active = active_features(config_.generation);
  return active > 0 ? fmt::format("new rows of {} features, {} of them active", features_, active)
                    : fmt::format("new rows of {} features, each active with probability {:g}", features_,
                                  config_.probability.value());
}

InductionRows::InductionRows(const InductionData& config, std::int64_t vocabulary, std::uint64_t seed,
                             DataRole role)
    : T_(config.sequence_length),
      vocabulary_(vocabulary),
      key_(key_of(seed, RandomPurpose::induction_rows, role)) {
  VPD_CHECK(T_ >= 4 && vocabulary_ >= 3, UsageError,
            "expected rows of at least 4 tokens (S m … S after the first) of a vocabulary of at least 3, "
            "found {} of {}",
            T_, vocabulary_);
}

at::Tensor InductionRows::batch(std::int64_t position, std::int64_t count) const {
  check_rows(position, count);
  at::Tensor rows = at::empty({count, T_}, at::TensorOptions().dtype(at::kLong).device(at::kCPU));
  auto* row = rows.mutable_data_ptr<std::int64_t>();
  const std::int64_t S = vocabulary_ - 1, others = vocabulary_ - 2;
  for (std::int64_t i = 0; i < count; ++i, row += T_) {
    for (std::int64_t t = 0; t < T_; t += 4) {
      const Words x = draw(key_, position + i, static_cast<std::uint32_t>(t / 4 + 1));
      for (std::int64_t k = 0; k < std::min<std::int64_t>(4, T_ - t); ++k)
        row[t + k] = 1 + below(x[static_cast<std::size_t>(k)], others);
    }
    row[0] = 0;
    row[1 + below(draw(key_, position + i, 0)[0], T_ - 3)] = S;  // m is the token that stands behind it
    row[T_ - 1] = S;
  }
  return rows;
}

std::string InductionRows::describe() const { return fmt::format("new rows of {} tokens", T_); }

}  // namespace vpd
