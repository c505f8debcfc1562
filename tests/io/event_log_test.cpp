#include "vpd/io/event_log.hpp"

#include <bit>
#include <cstring>

#include <gtest/gtest.h>

#include "support.hpp"
#include "vpd/io/files.hpp"

namespace vpd::testing {
namespace {

TEST(EventLog, ChecksumsAreCastagnolis) {
  // 0xe3069283 is the check value of CRC-32C.
  EXPECT_EQ(masked_crc32c("123456789"), std::rotr(0xe3069283u, 15) + 0xa282ead8u);
}

TEST(EventLog, WritesWholeRecords) {
  const TemporaryDirectory directory;
  write_atomically(directory / "metrics.jsonl",
                   "{\"step\": 3, \"train/l0\": 12.5, \"odd\": \"nan\"}\n{\"step\": 4");
  std::filesystem::create_directories(directory / "tensorboard");
  write_atomically(directory / "tensorboard/events.out.tfevents.1.old", "old");
  {
    EventLog log(directory / "tensorboard", directory / "metrics.jsonl");
    log.append(200, {{"train/loss/total", 0.25}});
  }
  EXPECT_FALSE(std::filesystem::exists(directory / "tensorboard/events.out.tfevents.1.old"));
  const std::string bytes = read_text(directory / "tensorboard/events.out.tfevents.0.vpd");
  std::vector<std::string> events;
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint64_t length = 0;
    std::uint32_t of_length = 0, of_event = 0;
    std::memcpy(&length, bytes.data() + at, 8);
    std::memcpy(&of_length, bytes.data() + at + 8, 4);
    EXPECT_EQ(of_length, masked_crc32c(bytes.substr(at, 8)));
    events.push_back(bytes.substr(at + 12, length));
    std::memcpy(&of_event, bytes.data() + at + 12 + length, 4);
    EXPECT_EQ(of_event, masked_crc32c(events.back()));
    at += 16 + length;
  }
  ASSERT_EQ(events.size(), 3u);
  EXPECT_NE(events[0].find("brain.Event:2"), std::string::npos);
  EXPECT_NE(events[1].find("train/l0"), std::string::npos);
  EXPECT_EQ(events[1].find("odd"), std::string::npos);
  EXPECT_NE(events[2].find("train/loss/total"), std::string::npos);
}

}  // namespace
}  // namespace vpd::testing
