#include "vpd/io/metrics_series.hpp"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "support.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

using testing::TemporaryDirectory;
using Points = std::vector<MetricPoint>;

TEST(MetricsSeries, IsWhatTheLogWrote) {
  const TemporaryDirectory directory;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  {
    MetricsLog log(directory / "m", -1);
    log.append(0, {{"train/l0", 0.1}, {"train/loss/total", infinity}});
    log.append(10, {{"train/l0", -infinity}, {"train/loss/total", std::nan("")}});
    log.append(10, {{"eval/l0/total", 3.0}});
  }
  const MetricsSeries series = read_metrics(directory / "m");
  EXPECT_EQ(series.of("train/l0"), (Points{{0, 0.1}, {10, -infinity}}));
  EXPECT_EQ(series.of("train/loss/total")[0], (MetricPoint{0, infinity}));
  EXPECT_TRUE(std::isnan(series.of("train/loss/total")[1].value));
  EXPECT_EQ(series.of("eval/l0/total"), (Points{{10, 3.0}}));
  EXPECT_TRUE(series.of("eval/l0").empty());
  EXPECT_FALSE(series.empty());
  EXPECT_EQ(series.names("train/l"), (std::vector<std::string>{"train/l0", "train/loss/total"}));
  EXPECT_TRUE(series.names("train/m").empty());
}

TEST(MetricsSeries, WhatIsMeasuredAgainReplacesWhatWas) {
  MetricsSeries series;
  for (const std::int64_t step : {0, 5, 10}) series.add(step, {{"a", 1.0}, {"b", 1.0}});
  series.add(5, {{"a", 2.0}});
  EXPECT_EQ(series.of("a"), (Points{{0, 1.0}, {5, 2.0}}));
  EXPECT_EQ(series.of("b"), (Points{{0, 1.0}, {5, 1.0}, {10, 1.0}}));
}

TEST(MetricsSeries, ALineCutOffIsPassedOverAndNothingIsNothing) {
  const TemporaryDirectory directory;
  write_atomically(directory / "m", "{\"step\": 1, \"a\": 2}\n{\"step\": 2, \"a\"");
  EXPECT_EQ(read_metrics(directory / "m").of("a"), (Points{{1, 2.0}}));
  write_atomically(directory / "m", "");
  EXPECT_TRUE(read_metrics(directory / "m").empty());
}

TEST(MetricsSeries, OtherContentIsRefused) {
  const TemporaryDirectory directory;
  const auto refuse = [&](const std::string& line, const std::string& part) {
    write_atomically(directory / "m", "{\"step\": 1}\n" + line + "\n");
    EXPECT_DATA_ERROR(part, read_metrics(directory / "m"));
    EXPECT_DATA_ERROR((directory / "m").string() + ": ", read_metrics(directory / "m"));
  };
  refuse("not json", "expected an object with a \"step\" in line 2, found 'not json'");
  refuse("[]", "in line 2");
  refuse("{\"a\": 1}", "in line 2");
  refuse("{\"step\": 1.5}", "in line 2");
  refuse("{\"step\": 2, \"a\": \"many\"}", "expected a number under \"a\" in line 2, found \"many\"");
  refuse("{\"step\": 2, \"a\": null}", "expected a number under \"a\" in line 2, found null");
  EXPECT_DATA_ERROR("absent: cannot open the file", read_metrics(directory / "absent"));
}

}  // namespace
}  // namespace vpd
