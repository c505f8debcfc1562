#include "command_line.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string_view>

#include <spdlog/fmt/fmt.h>
#include <unistd.h>

#include "output.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/limits.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

CLI::Validator whole_number(std::uint64_t least) {
  return {[least](const std::string& text) -> std::string {
            std::uint64_t value = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
            const bool whole = end == text.data() + text.size();
            if (whole && error == std::errc::result_out_of_range)
              return fmt::format("expected at most {}, found \"{}\"",
                                 std::numeric_limits<std::int64_t>::max(), text);
            if (whole && error == std::errc{} && value >= least) return {};
            return fmt::format("expected a whole number of at least {}, found \"{}\"", least, text);
          },
          "", ""};
}

CLI::Validator startable_threads() {
  return {[](const std::string& text) -> std::string {
            std::int64_t wanted = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), wanted);
            const bool huge = error == std::errc::result_out_of_range;
            return too_many_threads(huge ? std::numeric_limits<std::int64_t>::max() : wanted).value_or("");
          },
          "", ""};
}

CLI::Validator a_new_file() {
  return {[](const std::string& text) -> std::string {
            namespace fs = std::filesystem;
            std::error_code error;
            if (text.empty()) return "expected a path, found an empty one";
            if (text == "-") return {};
            if (fs::is_directory(text, error))
              return fmt::format("expected a file, found the directory {}", text);
            if (fs::exists(text, error) && !fs::is_regular_file(text, error)) return {};  // a pipe, say
            const fs::path parent = fs::absolute(text, error).parent_path();
            if (!fs::is_directory(parent, error))
              return fmt::format("expected a file in an existing directory, found no directory {}",
                                 parent.string());
            if (::access(parent.c_str(), W_OK) != 0)
              return fmt::format("expected a file in a directory that can be written to, found {}",
                                 parent.string());
            return {};
          },
          "", ""};
}
std::string& kept_command_line() {
  static std::string text;
  return text;
}

}  // namespace

CLI::Validator a_path() {
  return {[](const std::string& text) -> std::string {
            return text.empty() ? "expected a path, found an empty one" : "";
          },
          "", ""};
}
CLI::Validator a_file() {
  return {[](const std::string& text) -> std::string {
            std::error_code error;
            if (std::filesystem::is_directory(text, error))
              return fmt::format("expected a file, found the directory {}", text);
            return std::filesystem::exists(text, error)
                       ? ""
                       : fmt::format("expected a file, found nothing of the name {}", text);
          },
          "FILE", ""};
}
CLI::Validator at_least_one() { return whole_number(1); }
CLI::Validator at_least_zero() { return whole_number(0); }

void add_tokenizer_option(CLI::App& command, std::string& tokenizer) {
  command
      .add_option("--tokenizer", tokenizer,
                  "A tokenizer.json; without it the one beside the target or its tokens")
      ->check(a_file());
}

void add_threads_option(CLI::App& command, int& threads) {
  command
      .add_option("--threads", threads,
                  "CPU threads; without it as many as there are cores, or as a container, a SLURM job or "
                  "OMP_NUM_THREADS allows")
      ->check(at_least_one())
      ->check(startable_threads());
}

std::vector<std::int64_t> numbers_between_commas(const std::string& option, const std::string& text) {
  std::vector<std::int64_t> numbers;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    std::int64_t number = -1;
    const auto [end, error] = std::from_chars(text.data() + begin, text.data() + comma, number);
    VPD_CHECK(error == std::errc() && end == text.data() + comma && comma > begin && number >= 0, UsageError,
              "{}: expected numbers between commas, as in 5,8,9, found \"{}\"", option, text);
    numbers.push_back(number);
    begin = comma + 1;
  }
  return numbers;
}

void add_json_option(CLI::App& command, std::string& place, const std::string& what) {
  command.add_option("--json", place, "Also write " + what + " to this file; -: to standard output, alone")
      ->check(a_new_file());
}

void present(const std::string& text, const std::string& json, const std::string& place) {
  print(place == "-" ? json : printable_lines(text));
  if (!place.empty() && place != "-") write_atomically(place, json);
}

void warn(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings)
    static_cast<void>(write_all(STDERR_FILENO, "warning: " + printable(warning) + "\n"));
}

void keep_command_line(int argc, char** argv) {
  std::string& text = kept_command_line();
  for (int i = 0; i < argc; ++i) text += (i > 0 ? " " : "") + shell_quoted(argv[i]);
}

const std::string& command_line() { return kept_command_line(); }

}  // namespace vpd
