#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

#include "vpd/base/stop.hpp"
#include "vpd/config/prompts.hpp"

namespace vpd {

/// What a target reads, as far as data have to fit it: token ids, or features.
struct InputShape {
  std::int64_t vocabulary = 0;  ///< token ids are below this; 0: it reads features
  std::int64_t features = 0;    ///< entries of a row of features; 0: it reads tokens
  std::int64_t longest = 1;     ///< positions that a row has at most
};

// What a row of a data set is: token ids, or one number per feature.
enum class InputKind { tokens, features };

// Where a row lies: tokens [begin, begin + length) of a file, counted over all of its rows.
struct RowPlace {
  std::filesystem::path file;
  std::int64_t begin = 0;
};

// Rows to train or to evaluate on. A row is a function of its position alone, counted from the start of
// training, so the position is all the state there is.
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual InputKind kind() const = 0;
  // Positions of a row: T, which is 1 for features; of the longest where rows differ.
  virtual std::int64_t length() const = 0;
  // Whether all rows are as long; if not, batch() has to be asked for rows_alike() rows at most.
  virtual bool one_length() const { return true; }
  // Rows from `position` on that are as long as the one there.
  virtual std::int64_t rows_alike(std::int64_t /*position*/) const {
    return std::numeric_limits<std::int64_t>::max();
  }
  // Where the outputs of a row are compared.
  virtual ComparedPositions compared() const { return ComparedPositions::all; }
  // Rows in an epoch; nothing where rows are made as they are asked for and never come again.
  virtual std::optional<std::int64_t> rows() const = 0;

  // Rows position, …, position + count - 1 on the CPU: tokens, int64 [count, T], or features, float32
  // [count, n]. Thread-safe. DataError where what is read is not what it has to be.
  virtual at::Tensor batch(std::int64_t position, std::int64_t count) const = 0;

  // Where the row at that position lies; nothing for rows that are made, not read.
  virtual std::optional<RowPlace> place(std::int64_t /*position*/) const { return std::nullopt; }

  // Checks everything that batch() could ever read. Throws Interrupted once `stop` says so.
  virtual void scan(const StopAsked& /*stop*/ = {}) const {}
  // Bytes that scan() has to read.
  virtual std::int64_t bytes_to_scan() const { return 0; }

  // For people: "1200 rows of 64 tokens".
  virtual std::string describe() const = 0;
};

}  // namespace vpd
