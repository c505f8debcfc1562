#include "workplace.hpp"

#include <system_error>

#include "vpd/base/error.hpp"
#include "vpd/io/files.hpp"

namespace vpd {

namespace fs = std::filesystem;

Workplace::Workplace(const fs::path& out) {
  destination_ = fs::absolute(out).lexically_normal();
  if (destination_.filename().empty()) destination_ = destination_.parent_path();
  std::error_code error;
  VPD_CHECK(
      !fs::exists(destination_, error) || fs::is_empty(destination_, error), DataError,
      "{}: expected a new or an empty directory, found something there: choose another --out or remove it",
      out.string());
  path_ = destination_.parent_path() / fmt::format(".tmp-{}", destination_.filename().string());
  fs::remove_all(path_, error);
  if (!error) fs::create_directories(path_, error);
  VPD_CHECK(!error, DataError, "{}: cannot make this directory: {}; check the path and its permissions",
            path_.string(), error.message());
}

Workplace::~Workplace() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void Workplace::publish() { publish_directory(path_, destination_); }

}  // namespace vpd
