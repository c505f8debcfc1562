#include "vpd/io/tokens.hpp"

#include <algorithm>
#include <optional>
#include <span>

#include <ATen/ops/empty.h>

#include "vpd/base/error.hpp"
#include "vpd/io/permutation.hpp"

namespace vpd {

TokenDataset::TokenDataset(const std::filesystem::path& path, std::int64_t sequence_length, bool shuffle,
                           std::uint64_t seed)
    : shards_(open_token_shards(path)), sequence_length_(sequence_length), shuffle_(shuffle), seed_(seed) {
  VPD_CHECK(sequence_length >= 1, UsageError, "{}: expected a sequence length of at least 1, found {}",
            path.string(), sequence_length);
  first_sequence_.push_back(0);
  for (const TokenShard& shard : shards_) {
    if (shard.has_rows()) {
      VPD_CHECK(shard.shape()[1] >= sequence_length, DataError,
                "{}: expected rows of at least sequence_length = {} tokens, found rows of {}; lower "
                "sequence_length",
                shard.path().string(), sequence_length, shard.shape()[1]);
    }
    const std::int64_t sequences = shard.has_rows() ? shard.shape()[0] : shard.size() / sequence_length;
    first_sequence_.push_back(first_sequence_.back() + sequences);
  }
  VPD_CHECK(sequences() > 0, DataError,
            "{}: expected at least one sequence of sequence_length = {} tokens, found {} tokens; lower "
            "sequence_length",
            path.string(), sequence_length, tokens());
}

std::int64_t TokenDataset::tokens() const {
  std::int64_t total = 0;
  for (const TokenShard& shard : shards_) total += shard.size();
  return total;
}

std::string TokenDataset::describe() const {
  return fmt::format("{} rows of {} tokens", sequences(), sequence_length_);
}

void TokenDataset::require_vocabulary(std::int64_t vocabulary_size) {
  VPD_CHECK(vocabulary_size >= 1, UsageError, "expected a vocabulary of at least 1 token, found {}",
            vocabulary_size);
  vocabulary_size_ = vocabulary_size;
}

void TokenDataset::check(const TokenShard& shard, std::int64_t begin,
                         std::span<const std::int64_t> ids) const {
  const auto outside =
      std::find_if(ids.begin(), ids.end(), [&](std::int64_t id) { return id < 0 || id >= vocabulary_size_; });
  if (outside == ids.end()) return;
  const std::string where = shard.describe_position(begin + (outside - ids.begin()));
  VPD_CHECK(*outside >= 0, DataError, "{}: expected token ids of at least 0, found {} at {}",
            shard.path().string(), *outside, where);
  throw DataError(
      fmt::format("{}: expected token ids below the vocabulary size {}, found {} at {}; the data need the "
                  "target's own tokenizer",
                  shard.path().string(), vocabulary_size_, *outside, where));
}

TokenDataset::Found TokenDataset::find(std::int64_t sequence) const {
  // The last shard that begins at or before the sequence: shards without a sequence begin where the next one
  // does.
  const auto next = std::upper_bound(first_sequence_.begin(), first_sequence_.end(), sequence);
  const auto index = static_cast<std::size_t>(next - first_sequence_.begin()) - 1;
  const TokenShard& shard = shards_[index];
  const std::int64_t stride = shard.has_rows() ? shard.shape()[1] : sequence_length_;
  return {&shard, (sequence - first_sequence_[index]) * stride};
}

std::optional<RowPlace> TokenDataset::place(std::int64_t position) const {
  VPD_CHECK(position >= 0, UsageError, "expected a position of at least 0, found {}", position);
  std::int64_t sequence = position % sequences();
  if (shuffle_)
    sequence = Permutation(sequences(), seed_, static_cast<std::uint64_t>(position / sequences()))(sequence);
  const Found found = find(sequence);
  return RowPlace{found.shard->path(), found.begin};
}

at::Tensor TokenDataset::batch(std::int64_t position, std::int64_t count) const {
  VPD_CHECK(position >= 0 && count >= 1, UsageError,
            "expected a position of at least 0 and at least 1 sequence, found position {} and {} sequences",
            position, count);
  at::Tensor result =
      at::empty({count, sequence_length_}, at::TensorOptions().dtype(at::kLong).device(at::kCPU));
  auto* ids = result.mutable_data_ptr<std::int64_t>();
  std::optional<Permutation> permutation;
  std::int64_t epoch_of_permutation = -1;
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t sequence = (position + i) % sequences();
    if (shuffle_) {
      const std::int64_t epoch = (position + i) / sequences();
      if (epoch != epoch_of_permutation) {
        permutation.emplace(sequences(), seed_, static_cast<std::uint64_t>(epoch));
        epoch_of_permutation = epoch;
      }
      sequence = (*permutation)(sequence);
    }
    const Found found = find(sequence);
    const std::span<std::int64_t> row(ids + i * sequence_length_, static_cast<std::size_t>(sequence_length_));
    found.shard->read(found.begin, row);
    check(*found.shard, found.begin, row);
  }
  return result;
}

void TokenDataset::scan(const StopAsked& stop) const {
  std::vector<std::int64_t> ids;
  for (const TokenShard& shard : shards_) {
    const TokenRange range = scan_tokens(shard, stop);
    if (range.smallest >= 0 && range.largest < vocabulary_size_) continue;
    for (std::int64_t begin = 0; begin < shard.size(); begin += kTokensAtOnce) {  // which one it is
      end_if_asked(stop, "checking the tokens");
      ids.resize(static_cast<std::size_t>(std::min(kTokensAtOnce, shard.size() - begin)));
      shard.read(begin, ids);
      check(shard, begin, ids);
    }
  }
}

std::int64_t TokenDataset::bytes_to_scan() const {
  std::int64_t total = 0;
  for (const TokenShard& shard : shards_) total += vpd::bytes_to_scan(shard);
  return total;
}

}  // namespace vpd
