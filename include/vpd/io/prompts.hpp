#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/philox.hpp"
#include "vpd/config/prompts.hpp"
#include "vpd/io/dataset.hpp"

namespace vpd {

/// A few prompts as rows (targeted decomposition), no two lengths side by side in a batch.
///
/// To train on, with `rows_a_step`: rows k B, …, k B + B - 1 are step k's, all of one length, which is drawn
/// in proportion to how many prompts have it; the prompts of that length follow each other in turn from a
/// drawn one on. Else every prompt once, the shorter ones first.
class PromptRows final : public Dataset {
 public:
  /// Throws ConfigError where text needs a tokenizer and there is none, and DataError for lines that are no
  /// prompts, naming `where` or file and line.
  PromptRows(const PromptsData& config, std::int64_t vocabulary, std::uint64_t seed, std::int64_t rows_a_step,
             const std::string& where);

  InputKind kind() const override { return InputKind::tokens; }
  std::int64_t length() const override { return static_cast<std::int64_t>(sorted_.back().size()); }
  bool one_length() const override { return sorted_.front().size() == sorted_.back().size(); }
  std::int64_t rows_alike(std::int64_t position) const override;
  ComparedPositions compared() const override { return config_.positions; }
  std::optional<std::int64_t> rows() const override;
  at::Tensor batch(std::int64_t position, std::int64_t count) const override;
  std::string describe() const override;

  /// The prompts, the shorter ones first.
  const std::vector<std::vector<std::int64_t>>& prompts() const { return sorted_; }

 private:
  /// First prompt as long as number i, and how many there are.
  struct Group {
    std::size_t first = 0, count = 0;
  };
  Group group_of(std::size_t i) const;

  PromptsData config_;
  std::vector<std::vector<std::int64_t>> sorted_;
  std::int64_t rows_a_step_;
  RandomKey key_;
};

}  // namespace vpd
