#pragma once

#include <filesystem>
#include <optional>

#include "vpd/config/run.hpp"
#include "vpd/io/tokenizer.hpp"

namespace vpd {

/// A target as somebody names it at the command line.
struct NamedTarget {
  TargetConfig target;
  std::optional<RunConfig> run;  ///< that names it, where it was named so
};
/// `path`: the directory of a checkpoint or of a run, or a run's configuration. Throws DataError, and
/// ConfigError for a configuration that cannot be used.
NamedTarget named_target(const std::filesystem::path& path);

/// The tokenizer.json beside its weights, or, of a run, beside its tokens; nothing where there is none.
/// Throws DataError for one that cannot be read.
std::optional<Tokenizer> find_tokenizer(const NamedTarget& target);

}  // namespace vpd
