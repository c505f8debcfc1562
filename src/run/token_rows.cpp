#include "token_rows.hpp"

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/io/run_directory.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

// Relative paths of a configuration begin beside it; this one was typed somewhere else.
std::string path_override(const fs::path& tokens) {
  return "data.eval.path=" + fs::absolute(tokens).string();
}

}  // namespace

std::vector<std::string> tokens_in_place(const fs::path& run, const fs::path& tokens) {
  const RunConfig config =
      load_run_config(RunDirectory::open(run).config_path(), {}, config::Files::may_be_missing);
  if (!std::holds_alternative<PromptsData>(config.data.eval)) return {path_override(tokens)};
  return tokens_in_place(tokens, row_length(config.data.background.value_or(config.data.eval)));
}

std::vector<std::string> tokens_in_place(const fs::path& tokens, std::int64_t row_length) {
  // The path by itself: in a map its commas and braces would mean something.
  return {fmt::format("data.eval={{type: tokens, path: tokens, sequence_length: {}, shuffle: false}}",
                      row_length),
          path_override(tokens)};
}

std::string background_tokens(const DataConfig& data) {
  const auto* background = data.background ? std::get_if<TokensData>(&*data.background) : nullptr;
  return background ? background->path.string() : "FILE";
}

void require_one_length(const Dataset& data, const std::string& cure) {
  VPD_CHECK(data.one_length(), UsageError, "expected rows of one length to sum over, found {}: {}",
            data.describe(), cure);
}

void require_one_length(const Dataset& data, const DataConfig& of_run) {
  require_one_length(data, "name tokens with --tokens " + shell_quoted(background_tokens(of_run)));
}

}  // namespace vpd
