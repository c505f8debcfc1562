#include "vpd/base/launch.hpp"

#include <map>
#include <set>

#include <gtest/gtest.h>

#include "vpd/base/error.hpp"

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
// What SLURM 22.05 sets, where it matters here. In a batch script with --nodes=2 --ntasks=2:
const Variables batch_script = {{"SLURM_JOB_ID", "42"},        {"SLURM_JOB_NODELIST", "n[07-08],x"},
                                {"SLURM_LOCALID", "0"},        {"SLURM_NNODES", "2"},
                                {"SLURM_NODEID", "0"},         {"SLURM_NODELIST", "n[07-08],x"},
                                {"SLURM_NPROCS", "2"},         {"SLURM_NTASKS", "2"},
                                {"SLURM_PROCID", "0"},         {"SLURM_TASKS_PER_NODE", "1(x2)"},
                                {"SLURM_TOPOLOGY_ADDR", "n07"}};
// In a task of `srun -N2 -n8` in it:
const Variables slurm = {{"SLURM_JOB_ID", "42"},
                         {"SLURM_JOB_NODELIST", "n[07-08],x"},
                         {"SLURM_LOCALID", "1"},
                         {"SLURM_NNODES", "2"},
                         {"SLURM_NODEID", "1"},
                         {"SLURM_NODELIST", "n[07-08],x"},
                         {"SLURM_NPROCS", "8"},
                         {"SLURM_NTASKS", "8"},
                         {"SLURM_PROCID", "5"},
                         {"SLURM_STEPID", "0"},
                         {"SLURM_STEP_ID", "0"},
                         {"SLURM_STEP_NODELIST", "n08,x"},
                         {"SLURM_STEP_NUM_NODES", "2"},
                         {"SLURM_STEP_NUM_TASKS", "8"},
                         {"SLURM_STEP_TASKS_PER_NODE", "4(x2)"}};

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
  EXPECT_EQ(read(with(slurm, {{"SLURM_PROCID", "0"}, {"SLURM_LOCALID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}})),
            Launch{});
}

TEST(Launch, OutsideAStepOfSlurmIsOneProcess) {
  EXPECT_EQ(read(batch_script), Launch{});
  EXPECT_EQ(read(without(slurm, "SLURM_STEP_ID")), Launch{});
  // What SLURM counts as a step around a batch script and an interactive shell.
  for (const char* step : {"4294967291", "4294967290"})
    EXPECT_EQ(read(with(batch_script, {{"SLURM_STEP_ID", step}})), Launch{});
}

TEST(Launch, Torchrun) {
  const Launch expected = {.rank = 5, .count = 8, .local_rank = 1, .address = "host", .port = 29500};
  EXPECT_EQ(read(torchrun), expected);
  Launch elastic = expected;
  elastic.launcher_serves = true;
  elastic.job = "torchrun's run none";
  elastic.attempt = "2";
  EXPECT_EQ(read(with(torchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                 {"TORCHELASTIC_RESTART_COUNT", "2"},
                                 {"TORCHELASTIC_RUN_ID", "none"}})),
            elastic);
  EXPECT_EQ(read(without(torchrun, "LOCAL_RANK")).local_rank, 5);
}

TEST(Launch, Slurm) {
  const Launch found = read(slurm);
  EXPECT_EQ(found, (Launch{.rank = 5,
                           .count = 8,
                           .local_rank = 1,
                           .address = "n08",
                           .port = found.port,
                           .job = "SLURM job 42, step 0"}));
  const Launch told = read(with(slurm, {{"MASTER_ADDR", "other"}, {"MASTER_PORT", "1234"}}));
  EXPECT_EQ(told.address, "other");
  EXPECT_EQ(told.port, 1234);
  EXPECT_EQ(read(with(slurm, {{"SLURM_RESTART_COUNT", "3"}})).attempt, "3");
}

TEST(Launch, AStepIsAPartOfItsJob) {
  const Launch part = read(with(slurm, {{"SLURM_NTASKS", "64"}, {"SLURM_STEP_NODELIST", "x"}}));
  EXPECT_EQ(part.count, 8);
  EXPECT_EQ(part.address, "x");
  const Launch old = read(without(without(slurm, "SLURM_STEP_NUM_TASKS"), "SLURM_STEP_NODELIST"));
  EXPECT_EQ(old.count, 8);
  EXPECT_EQ(old.address, "n07");
}

TEST(Launch, StepsHardlyShareAPort) {
  std::set<int> ports;
  for (int job = 1; job <= 100; ++job) {
    for (int step = 0; step < 3; ++step) {
      const Launch found = read(with(slurm, {{"SLURM_JOB_ID", std::to_string(625 * job)},
                                             {"SLURM_STEP_ID", std::to_string(step * 64)}}));
      EXPECT_GE(found.port, 20000);
      EXPECT_LT(found.port, 32768);  // from here on systems give ports away
      ports.insert(found.port);
    }
  }
  EXPECT_GE(ports.size(), 290U);  // of 300; drawn at random about 296
}

TEST(Launch, TorchrunInsideASlurmStepCounts) { EXPECT_EQ(read(with(torchrun, slurm)), read(torchrun)); }

TEST(Launch, WhatIsMissing) {
  expect_refusal(without(torchrun, "RANK"), "WORLD_SIZE: expected RANK and WORLD_SIZE together");
  expect_refusal(without(torchrun, "WORLD_SIZE"), "RANK: expected RANK and WORLD_SIZE together");
  expect_refusal(without(torchrun, "MASTER_ADDR"), "MASTER_ADDR: expected the machine of process 0");
  expect_refusal(without(torchrun, "MASTER_PORT"), "MASTER_PORT: expected a free port of host");
  expect_refusal(
      without(without(without(slurm, "SLURM_STEP_NODELIST"), "SLURM_NODELIST"), "SLURM_JOB_NODELIST"),
      "MASTER_ADDR: expected the machine of process 0");
  expect_refusal(without(slurm, "SLURM_JOB_ID"), "MASTER_PORT: expected a free port of n08");
}

TEST(Launch, WhatMakesNoSense) {
  expect_refusal(with(torchrun, {{"RANK", "8"}}), "RANK: expected a whole number from 0 to 7, found '8'");
  expect_refusal(with(torchrun, {{"RANK", "-1"}}), "found '-1'");
  expect_refusal(with(torchrun, {{"WORLD_SIZE", "0"}}), "WORLD_SIZE: expected a whole number from 1");
  expect_refusal(with(torchrun, {{"WORLD_SIZE", "8 "}}), "found '8 '");
  expect_refusal(with(torchrun, {{"LOCAL_RANK", ""}}), "LOCAL_RANK");
  expect_refusal(with(torchrun, {{"MASTER_PORT", "65536"}}), "MASTER_PORT");
  expect_refusal(with(slurm, {{"SLURM_JOB_ID", "many"}}), "SLURM_JOB_ID");
  expect_refusal(with(slurm, {{"SLURM_STEP_ID", "first"}}), "SLURM_STEP_ID");
  expect_refusal(with(slurm, {{"SLURM_PROCID", "8"}}), "SLURM_PROCID: expected a whole number from 0 to 7");
  expect_refusal(with(slurm, {{"SLURM_STEP_NUM_TASKS", "all"}}), "--alone for one process alone");
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
