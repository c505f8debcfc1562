#include "vpd/io/metrics_log.hpp"

#include <cmath>
#include <limits>
#include <sstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

using nlohmann::json;
using testing::TemporaryDirectory;

std::vector<json> lines_of(const std::filesystem::path& path) {
  std::istringstream stream(read_text(path));
  std::vector<json> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

TEST(MetricsLog, NumbersReadBackExactly) {
  const TemporaryDirectory directory;
  const std::vector<double> numbers{
      0.0,  -0.0, 0.1,   1.0 / 3.0,          1e300, std::numeric_limits<double>::denorm_min(),
      -2.5, 1e21, 200.0, 123456789.123456789};
  MetricsLog log(directory / "metrics.jsonl", -1);
  MetricsLog::Values values;
  for (std::size_t i = 0; i < numbers.size(); ++i)
    values.emplace_back("loss/" + std::to_string(i), numbers[i]);
  log.append(200, values);
  const json line = lines_of(directory / "metrics.jsonl").at(0);
  EXPECT_EQ(line["step"], 200);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    EXPECT_EQ(line["loss/" + std::to_string(i)].get<double>(), numbers[i]);
    EXPECT_EQ(std::signbit(line["loss/" + std::to_string(i)].get<double>()), std::signbit(numbers[i]));
  }
}

TEST(MetricsLog, WritesTheDocumentedLine) {
  const TemporaryDirectory directory;
  MetricsLog log(directory / "m", -1);
  log.append(3,
             {{"train/loss/total", 0.25}, {"a \"name\"", std::nan("")}, {"b", HUGE_VAL}, {"c", -HUGE_VAL}});
  EXPECT_EQ(read_text(directory / "m"),
            "{\"step\": 3, \"train/loss/total\": 0.25, \"a \\\"name\\\"\": \"nan\", \"b\": \"inf\", \"c\": "
            "\"-inf\"}\n");
}

TEST(MetricsLog, ResumingDropsWhatIsWrittenAgain) {
  const TemporaryDirectory directory;
  const auto path = directory / "m";
  {
    MetricsLog log(path, -1);
    for (const std::int64_t step : {0, 10, 20, 30}) log.append(step, {{"x", static_cast<double>(step)}});
  }
  const std::string whole = read_text(path);
  {
    MetricsLog log(path, 20);
    log.append(25, {});
  }
  std::vector<int> steps;
  for (const json& line : lines_of(path)) steps.push_back(line["step"]);
  EXPECT_EQ(steps, (std::vector<int>{0, 10, 20, 25}));
  { MetricsLog log(path, 100); }
  EXPECT_EQ(lines_of(path).size(), 4u);
  { MetricsLog log(path, -1); }
  EXPECT_EQ(read_text(path), "");
  EXPECT_EQ(testing::count_entries(directory.path()), 1u);
}

TEST(MetricsLog, ALineCutOffByAKillIsDropped) {
  const TemporaryDirectory directory;
  write_atomically(directory / "m", "{\"step\": 1}\n{\"step\": 2, \"lo");
  {
    MetricsLog log(directory / "m", 5);
    log.append(2, {});
  }
  EXPECT_EQ(read_text(directory / "m"), "{\"step\": 1}\n{\"step\": 2}\n");
}

TEST(MetricsLog, OtherContentIsRefusedAndKept) {
  const TemporaryDirectory directory;
  for (const char* content : {"{\"step\": 1}\nnot json\n", "{\"step\": 1}\n{\"loss\": 1}\n",
                              "{\"step\": 1}\n[]\n", "{\"step\": 1}\n\n"}) {
    write_atomically(directory / "m", content);
    EXPECT_DATA_ERROR("expected an object with a \"step\" in line 2", MetricsLog(directory / "m", 5));
    EXPECT_EQ(read_text(directory / "m"), content);
  }
  EXPECT_DATA_ERROR("cannot open the file to append to it: No such file",
                    MetricsLog(directory / "absent/m", 5));
}

TEST(MetricsLog, FullDiskLeavesWholeLines) {
  const testing::SmallDisk disk;
  if (!disk.mounted()) GTEST_SKIP() << "NOT TESTED: mounting a small tmpfs needs root";
  MetricsLog log(disk.path() / "m", -1);
  const std::string name(1000, 'x');
  std::int64_t step = 0;
  const std::string error = testing::error_of([&] {
    for (; step < 1000; ++step) log.append(step, {{name, 1.0}});
  });
  EXPECT_TRUE(testing::contains(
      error, "cannot append the metrics of step " + std::to_string(step) + ": No space left"))
      << error;
  EXPECT_EQ(static_cast<std::int64_t>(lines_of(disk.path() / "m").size()), step);
}

}  // namespace
}  // namespace vpd
