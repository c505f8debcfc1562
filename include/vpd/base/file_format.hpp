#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

// What a file is that is not what it was taken for.

namespace vpd {

/// What a file was to be read as.
enum class FileUse { tokens, safetensors, torch_checkpoint, tokenizer, configuration, anything };

/// What a file is, by its first bytes (some thousand are plenty) and its name, with the cure where there is
/// one, to be read after "found": "a Git LFS pointer in place of a file of 1.2 GiB; run `git lfs pull`...".
/// Nothing where it may be what it was to be read as, or where its format is not known. A reader asks when it
/// cannot make sense of a file, so that nothing good is ever refused for looking like something else.
std::optional<std::string> other_format(std::string_view first_bytes, const std::filesystem::path& path,
                                        FileUse use);

/// The same of a file, of which it reads the first bytes; nothing where it cannot be read.
std::optional<std::string> other_format(const std::filesystem::path& path, FileUse use);

}  // namespace vpd
