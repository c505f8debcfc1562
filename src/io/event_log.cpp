#include "vpd/io/event_log.hpp"

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <sstream>
#include <system_error>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "vpd/base/error.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    table[i] = crc;
  }
  return table;
}

// Protocol buffers: a key is the field's number and its wire type (0: varint, 1: 8 bytes, 2: length and
// bytes, 5: 4 bytes); numbers are little-endian.
void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
template <class T>
void put_bytes(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}
void put_text(std::string& out, char key, const std::string& text) {
  out += key;
  put_varint(out, text.size());
  out += text;
}

constexpr char wall_time_key = 1 << 3 | 1, step_key = 2 << 3 | 0, file_version_key = 3 << 3 | 2,
               summary_key = 5 << 3 | 2;
constexpr char value_key = 1 << 3 | 2, tag_key = 1 << 3 | 2, simple_value_key = 2 << 3 | 5;

std::string begun_event() {
  std::string event(1, wall_time_key);
  put_bytes(event,
            std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count());
  return event;
}

}  // namespace

static_assert(std::endian::native == std::endian::little);

std::uint32_t masked_crc32c(const std::string& bytes) {
  static constexpr std::array<std::uint32_t, 256> table = crc_table();
  std::uint32_t crc = 0xffffffffu;
  for (const char byte : bytes) crc = table[(crc ^ static_cast<std::uint8_t>(byte)) & 0xff] ^ (crc >> 8);
  crc ^= 0xffffffffu;
  return std::rotr(crc, 15) + 0xa282ead8u;
}

EventLog::EventLog(const fs::path& directory, const fs::path& metrics)
    : path_(directory / "events.out.tfevents.0.vpd") {
  std::error_code error;
  fs::create_directories(directory, error);
  for (fs::directory_iterator i(directory, error), end; !error && i != end; i.increment(error)) {
    std::error_code ignored;
    if (i->path().filename().string().find("tfevents") != std::string::npos) fs::remove(i->path(), ignored);
  }
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  VPD_CHECK(descriptor_ >= 0, DataError,
            "{}: cannot write TensorBoard events: {}; or set output.tensorboard: false", path_.string(),
            std::generic_category().message(errno));
  std::string first = begun_event();
  put_text(first, file_version_key, "brain.Event:2");
  write(first);
  if (!fs::exists(metrics, error)) return;
  std::istringstream lines(read_text(metrics));
  for (std::string line; std::getline(lines, line);) {
    const auto entry = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!entry.is_object()) continue;  // cut off; MetricsLog has looked at the rest
    MetricsLog::Values values;
    for (const auto& [name, value] : entry.items())
      if (name != "step" && value.is_number()) values.emplace_back(name, value.get<double>());
    append(entry.value("step", std::int64_t{0}), values);
  }
}

EventLog::~EventLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void EventLog::append(std::int64_t step, const MetricsLog::Values& values) {
  std::string summary;
  for (const auto& [name, number] : values) {
    std::string value;
    put_text(value, tag_key, name);
    value += simple_value_key;
    put_bytes(value, static_cast<float>(number));
    put_text(summary, value_key, value);
  }
  std::string event = begun_event();
  event += step_key;
  put_varint(event, static_cast<std::uint64_t>(step));
  put_text(event, summary_key, summary);
  write(event);
}

void EventLog::write(const std::string& event) {
  std::string length, record;
  put_bytes(length, static_cast<std::uint64_t>(event.size()));
  record += length;
  put_bytes(record, masked_crc32c(length));
  record += event;
  put_bytes(record, masked_crc32c(event));
  ssize_t written = 0;
  do {
    written = ::write(descriptor_, record.data(), record.size());
  } while (written < 0 && errno == EINTR);
  VPD_CHECK(written == static_cast<ssize_t>(record.size()), DataError,
            "{}: cannot append TensorBoard events: {}; free some space there", path_.string(),
            std::generic_category().message(written < 0 ? errno : ENOSPC));
}

}  // namespace vpd
