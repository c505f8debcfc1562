#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/io/dataset.hpp"
#include "vpd/io/token_shard.hpp"

namespace vpd {

// Sequences of T = sequence_length tokens out of one or more shards. A stream is cut into sequences that do
// not overlap, and what is left at its end is dropped; a file of rows gives one sequence a row, cut to T.
//
// The order is a function of the position alone, which is therefore all the state there is: sequence p of a
// run is sequence p mod N of epoch p div N, in order, or with `shuffle` after that epoch's own permutation.
class TokenDataset final : public Dataset {
 public:
  // `path` as open_token_shards reads it. DataError when there are too few tokens for one sequence, or rows
  // shorter than T.
  TokenDataset(const std::filesystem::path& path, std::int64_t sequence_length, bool shuffle,
               std::uint64_t seed);

  // Sequences in an epoch: N.
  std::int64_t sequences() const { return first_sequence_.back(); }
  // All tokens in the files, those that no sequence uses among them.
  std::int64_t tokens() const;
  std::int64_t sequence_length() const { return sequence_length_; }
  const std::vector<TokenShard>& shards() const { return shards_; }

  InputKind kind() const override { return InputKind::tokens; }
  std::int64_t length() const override { return sequence_length_; }
  std::optional<std::int64_t> rows() const override { return sequences(); }
  std::string describe() const override;

  // From now on an id at or above `vocabulary_size` is an error in batch() and scan(). Negative ones always
  // are.
  void require_vocabulary(std::int64_t vocabulary_size);

  // Sequences position, …, position + count - 1 since the start of training, int64 [count, T] on the CPU.
  // Thread-safe. DataError naming file and position for an id outside the vocabulary.
  at::Tensor batch(std::int64_t position, std::int64_t count) const override;

  std::optional<RowPlace> place(std::int64_t position) const override;

  // Checks every token of every file against the vocabulary.
  void scan(const StopAsked& stop = {}) const override;
  std::int64_t bytes_to_scan() const override;

 private:
  // A shard, and where a sequence of it begins.
  struct Found {
    const TokenShard* shard = nullptr;
    std::int64_t begin = 0;
  };
  // Sequence number `sequence` of the files, in their order.
  Found find(std::int64_t sequence) const;
  void check(const TokenShard& shard, std::int64_t begin, std::span<const std::int64_t> ids) const;

  std::vector<TokenShard> shards_;
  std::vector<std::int64_t> first_sequence_;  // of each shard; N at the end
  std::int64_t sequence_length_;
  bool shuffle_;
  std::uint64_t seed_;
  std::int64_t vocabulary_size_ = std::numeric_limits<std::int64_t>::max();
};

}  // namespace vpd
