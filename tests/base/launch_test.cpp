#include <map>

#include <gtest/gtest.h>
#include <vpd/base/error.hpp>
#include <vpd/base/launch.hpp>

namespace vpd {
namespace {

using Variables = std::map<std::string, std::string>;

Launch read(const Variables& variables) {
  return read_launch([&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

void expect_refusal(const Variables& variables, const std::string& words) {
  try {
    read(variables);
    ADD_FAILURE() << "expected a UsageError with: " << words;
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

const Variables torchrun = {{"RANK", "5"},
                            {"WORLD_SIZE", "8"},
                            {"LOCAL_RANK", "1"},
                            {"MASTER_ADDR", "host"},
                            {"MASTER_PORT", "29500"}};
const Variables slurm = {{"SLURM_PROCID", "5"},
                         {"SLURM_NTASKS", "8"},
                         {"SLURM_LOCALID", "1"},
                         {"SLURM_NODELIST", "n[07-08],x"},
                         {"SLURM_JOB_ID", "42"}};

Variables with(Variables variables, const Variables& more) {
  for (const auto& [name, value] : more) variables[name] = value;
  return variables;
}

Variables without(Variables variables, const std::string& name) {
  variables.erase(name);
  return variables;
}

TEST(Launch, NothingSetIsOneProcess) { EXPECT_EQ(read({}), Launch{}); }

TEST(Launch, OneOfOneIsOneProcess) {
  EXPECT_EQ(read({{"RANK", "0"}, {"WORLD_SIZE", "1"}}), Launch{});
  EXPECT_EQ(read({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}}), Launch{});
}

TEST(Launch, Torchrun) {
  const Launch expected = {.rank = 5, .count = 8, .local_rank = 1, .address = "host", .port = 29500};
  EXPECT_EQ(read(torchrun), expected);
  Launch elastic = expected;
  elastic.launcher_serves = true;
  elastic.attempt = "2";
  EXPECT_EQ(
      read(with(torchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"TORCHELASTIC_RESTART_COUNT", "2"}})),
      elastic);
  EXPECT_EQ(read(without(torchrun, "LOCAL_RANK")).local_rank, 5);
}

TEST(Launch, Slurm) {
  const Launch found = read(slurm);
  EXPECT_EQ(found, (Launch{.rank = 5, .count = 8, .local_rank = 1, .address = "n07", .port = found.port}));
  EXPECT_EQ(found.port, 20000 + 64 * 42);
  EXPECT_EQ(read(with(slurm, {{"SLURM_STEP_ID", "3"}})).port, found.port + 3);
  const Launch told = read(with(slurm, {{"MASTER_ADDR", "other"}, {"MASTER_PORT", "1234"}}));
  EXPECT_EQ(told.address, "other");
  EXPECT_EQ(told.port, 1234);
}

TEST(Launch, TorchrunInsideASlurmStepCounts) { EXPECT_EQ(read(with(torchrun, slurm)), read(torchrun)); }

TEST(Launch, WhatIsMissing) {
  expect_refusal(without(torchrun, "RANK"), "WORLD_SIZE: expected RANK and WORLD_SIZE together");
  expect_refusal(without(torchrun, "WORLD_SIZE"), "RANK: expected RANK and WORLD_SIZE together");
  expect_refusal(without(torchrun, "MASTER_ADDR"), "MASTER_ADDR: expected the machine of process 0");
  expect_refusal(without(torchrun, "MASTER_PORT"), "MASTER_PORT: expected a free port of host");
  expect_refusal(without(slurm, "SLURM_NODELIST"), "MASTER_ADDR: expected the machine of process 0");
  expect_refusal(without(slurm, "SLURM_JOB_ID"), "MASTER_PORT: expected a free port of n07");
}

TEST(Launch, WhatMakesNoSense) {
  expect_refusal(with(torchrun, {{"RANK", "8"}}), "RANK: expected a whole number from 0 to 7, found '8'");
  expect_refusal(with(torchrun, {{"RANK", "-1"}}), "found '-1'");
  expect_refusal(with(torchrun, {{"WORLD_SIZE", "0"}}), "WORLD_SIZE: expected a whole number from 1");
  expect_refusal(with(torchrun, {{"WORLD_SIZE", "8 "}}), "found '8 '");
  expect_refusal(with(torchrun, {{"LOCAL_RANK", ""}}), "LOCAL_RANK");
  expect_refusal(with(torchrun, {{"MASTER_PORT", "65536"}}), "MASTER_PORT");
  expect_refusal(with(slurm, {{"SLURM_JOB_ID", "many"}}), "SLURM_JOB_ID");
}

TEST(Launch, NodeLists) {
  EXPECT_EQ(first_of_node_list("node7"), "node7");
  EXPECT_EQ(first_of_node_list("a,b"), "a");
  EXPECT_EQ(first_of_node_list("node[003-007,12],other"), "node003");
  EXPECT_EQ(first_of_node_list("gpu-[12,14]"), "gpu-12");
  EXPECT_EQ(first_of_node_list("rack[1-2]node[3-4]-ib,x"), "rack1node3-ib");
  EXPECT_EQ(first_of_node_list(""), "");
}

}  // namespace
}  // namespace vpd
