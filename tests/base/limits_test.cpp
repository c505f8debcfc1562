#include "vpd/base/limits.hpp"

#include <fstream>
#include <map>

#include <gtest/gtest.h>

#include "config/support.hpp"

namespace vpd {
namespace {

constexpr std::int64_t MiB = 1 << 20, GiB = 1 << 30;

/// A machine of 8 cores with 16 GiB available, on which this process holds 100 MiB; what a test adds bounds
/// it.
class Machine {
 public:
  Machine() {
    write("proc/meminfo", "MemTotal:       33554432 kB\nMemFree:  1000 kB\nMemAvailable:   16777216 kB\n");
    write("proc/self/status",
          "Name:\tvpd\nVmSize:\t 2048000 kB\nVmRSS:\t  102400 kB\nVmData:\t 204800 kB\n"
          "Cpus_allowed:\tff\nCpus_allowed_list:\t0-7\n");
    write("proc/self/limits",
          "Limit                     Soft Limit           Hard Limit           Units     \n"
          "Max data size             unlimited            unlimited            bytes     \n"
          "Max address space         unlimited            unlimited            bytes     \n");
    write("proc/self/cgroup", "");
    write("proc/self/mountinfo", "25 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n");
  }

  void write(const std::string& name, const std::string& text) { scratch_.write(name, text); }
  void set(const std::string& name, const std::string& value) { variables_[name] = value; }

  /// One hierarchy of version 2, as most systems have it. `path`: of this process's group.
  void unified(const std::string& path) {
    write("proc/self/cgroup", "0::" + path + "\n");
    write("proc/self/mountinfo",
          "25 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
          "31 25 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  }

  /// A hierarchy of version 1 for each controller, and one of version 2 without any beside them.
  void version_1(const std::string& memory, const std::string& cpu) {
    write("proc/self/cgroup",
          "12:pids:/\n5:memory:" + memory + "\n4:cpu,cpuacct:" + cpu + "\n1:name=systemd:/\n0::/unused\n");
    write("proc/self/mountinfo",
          "33 25 0:29 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
          "34 25 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
          "35 25 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
          "36 25 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  }

  Surroundings surroundings() const {
    return {scratch_.path(), [this](const char* name) -> std::optional<std::string> {
              const auto found = variables_.find(name);
              return found == variables_.end() ? std::nullopt : std::optional(found->second);
            }};
  }

  MemoryLimit memory() const { return usable_memory(surroundings()); }
  CoreLimit cores() const { return usable_cores(surroundings()); }
  std::optional<std::string> refusal(std::int64_t threads) const {
    return too_many_threads(threads, surroundings());
  }

 private:
  ScratchDirectory scratch_;
  std::map<std::string, std::string> variables_;
};

constexpr const char* of_group = "that the control group leaves";

TEST(Limits, WithoutAnyThereIsTheMachine) {
  const Machine machine;
  EXPECT_EQ(machine.memory().bytes, 16 * GiB + 100 * MiB);  // with what it holds already
  EXPECT_EQ(machine.memory().giver, "available");
  EXPECT_EQ(machine.cores().count, 8);
}

TEST(Limits, AGroupThatMayHaveAllBoundsNothing) {
  Machine machine;
  machine.unified("/a/b");
  for (const char* group : {"", "a/", "a/b/"}) {
    const std::string place = std::string("sys/fs/cgroup/") + group;
    machine.write(place + "memory.max", "max\n");
    machine.write(place + "memory.high", "max\n");
    machine.write(place + "memory.current", "99999999999\n");
    machine.write(place + "cpu.max", "max 100000\n");
    machine.write(place + "pids.max", "max\n");
  }
  EXPECT_EQ(machine.memory().bytes, 16 * GiB + 100 * MiB);
  EXPECT_EQ(machine.cores().count, 8);
  EXPECT_EQ(machine.refusal(64), std::nullopt);
}

TEST(Limits, AContainerOfAGibibyteAndHalfACore) {
  Machine machine;
  machine.unified("/");
  machine.write("sys/fs/cgroup/memory.max", "1073741824\n");
  machine.write("sys/fs/cgroup/memory.current", std::to_string(300 * MiB) + "\n");
  machine.write("sys/fs/cgroup/memory.stat",
                "anon 1\nfile 2\ninactive_file " + std::to_string(120 * MiB) + "\nactive_file 7\n");
  machine.write("sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(machine.memory().bytes, 1024 * MiB - 180 * MiB + 100 * MiB);
  EXPECT_EQ(machine.memory().giver, of_group);
  EXPECT_EQ(machine.cores().count, 1);
  EXPECT_EQ(machine.cores().giver, "the control group's CPU quota of 0.5");
}

TEST(Limits, TheTightestOfNestedGroupsCounts) {
  Machine machine;
  machine.unified("/user.slice/job 7/step");
  machine.write("sys/fs/cgroup/user.slice/memory.max", std::to_string(12 * GiB));
  machine.write("sys/fs/cgroup/user.slice/memory.current", std::to_string(11 * GiB));
  machine.write("sys/fs/cgroup/user.slice/job 7/memory.max", std::to_string(4 * GiB));
  machine.write("sys/fs/cgroup/user.slice/job 7/memory.high", "max");
  machine.write("sys/fs/cgroup/user.slice/job 7/memory.current", std::to_string(GiB / 2));
  machine.write("sys/fs/cgroup/user.slice/job 7/cpu.max", "250000 100000");
  machine.write("sys/fs/cgroup/user.slice/job 7/step/memory.max", "max");
  machine.write("sys/fs/cgroup/user.slice/job 7/step/cpu.max", "400000 100000");
  EXPECT_EQ(machine.memory().bytes, GiB + 100 * MiB);  // what others left of the slice
  EXPECT_EQ(machine.cores().count, 3);                 // 2.5, rounded up
  machine.write("sys/fs/cgroup/user.slice/job 7/step/memory.high", std::to_string(GiB));
  machine.write("sys/fs/cgroup/user.slice/job 7/step/memory.current", std::to_string(200 * MiB));
  EXPECT_EQ(machine.memory().bytes, 1024 * MiB - 100 * MiB);
}

TEST(Limits, WhatIsOverItsLimitLeavesNothingMore) {
  Machine machine;
  machine.unified("/");
  machine.write("sys/fs/cgroup/memory.max", std::to_string(500 * MiB));
  machine.write("sys/fs/cgroup/memory.current", std::to_string(600 * MiB));
  EXPECT_EQ(machine.memory().bytes, 100 * MiB);
  // Its pages count in another group: still never more than the limit.
  machine.write("sys/fs/cgroup/memory.current", "0");
  EXPECT_EQ(machine.memory().bytes, 500 * MiB);
}

TEST(Limits, Version1BesideVersion2) {
  Machine machine;
  machine.version_1("/docker/abc", "/docker/abc");
  const std::string memory = "sys/fs/cgroup/memory/", cpu = "sys/fs/cgroup/cpu,cpuacct/";
  machine.write(memory + "memory.limit_in_bytes", "9223372036854771712\n");
  machine.write(memory + "memory.usage_in_bytes", std::to_string(20 * GiB));
  machine.write(cpu + "cpu.cfs_quota_us", "-1\n");
  machine.write(cpu + "cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(machine.memory().giver, "available");
  EXPECT_EQ(machine.cores().count, 8);
  machine.write(memory + "docker/abc/memory.limit_in_bytes", std::to_string(2 * GiB));
  machine.write(memory + "docker/abc/memory.usage_in_bytes", std::to_string(GiB));
  machine.write(memory + "docker/abc/memory.stat",
                "cache 5\ninactive_file 3\ntotal_inactive_file " + std::to_string(512 * MiB) + "\n");
  machine.write(cpu + "docker/abc/cpu.cfs_quota_us", "150000\n");
  machine.write(cpu + "docker/abc/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(machine.memory().bytes, GiB + 512 * MiB + 100 * MiB);
  EXPECT_EQ(machine.memory().giver, of_group);
  EXPECT_EQ(machine.cores().count, 2);
}

TEST(Limits, AGroupIsFoundThroughWhatIsMountedOfItsHierarchy) {
  // In a container without a namespace of its own the path is the host's, and the mount begins at the group.
  Machine machine;
  machine.write("proc/self/cgroup", "5:memory:/docker/abc\n");
  const auto mounted = [&](const std::string& root, const std::string& point) {
    machine.write("proc/self/mountinfo",
                  "33 25 0:29 " + root + " " + point + " ro - cgroup cgroup rw,memory\n");
  };
  machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string(GiB));
  mounted("/docker/abc", "/sys/fs/cgroup/memory");
  EXPECT_EQ(machine.memory().bytes, GiB);
  mounted("/docker", "/sys/fs/cgroup/memory");
  machine.write("sys/fs/cgroup/memory/abc/memory.limit_in_bytes", std::to_string(GiB / 2));
  EXPECT_EQ(machine.memory().bytes, GiB / 2);
  // Another path than the mount's, or one outside of the namespace: its root is all that can be seen.
  mounted("/elsewhere", "/sys/fs/cgroup/memory");
  EXPECT_EQ(machine.memory().bytes, GiB);
  machine.write("proc/self/cgroup", "5:memory:/../other\n");
  mounted("/", "/sys/fs/cgroup/memory");
  EXPECT_EQ(machine.memory().bytes, GiB);
  // A mount point with a space in its name.
  machine.write("mounted here/memory.limit_in_bytes", std::to_string(GiB / 4));
  mounted("/", "/mounted\\040here");
  EXPECT_EQ(machine.memory().bytes, GiB / 4);
}

TEST(Limits, OfTheProcessItself) {
  Machine machine;
  const auto limit = [&](const std::string& data, const std::string& space) {
    machine.write("proc/self/limits",
                  "Max data size             " + data +
                      "            unlimited            bytes\nMax address space         " + space +
                      "            unlimited            bytes\n");
  };
  limit("unlimited", std::to_string(3000 * MiB));
  EXPECT_EQ(machine.memory().bytes, 3000 * MiB - 2000 * MiB + 100 * MiB);
  EXPECT_NE(machine.memory().giver.find("ulimit -v"), std::string::npos);
  limit(std::to_string(500 * MiB), "unlimited");
  EXPECT_EQ(machine.memory().bytes, 500 * MiB - 200 * MiB + 100 * MiB);
  EXPECT_NE(machine.memory().giver.find("ulimit -d"), std::string::npos);
}

TEST(Limits, OfAnAffinityMask) {
  Machine machine;
  for (const auto& [list, count] :
       std::map<std::string, int>{{"0", 1}, {"2-5", 4}, {"0-1,4,6-7", 5}, {"0-63,128-191", 128}}) {
    machine.write("proc/self/status", "Cpus_allowed_list:\t" + list + "\n");
    EXPECT_EQ(machine.cores().count, count) << list;
  }
}

TEST(Limits, OfASlurmJob) {
  Machine machine;
  machine.set("SLURM_MEM_PER_NODE", "4096");
  machine.set("SLURM_CPUS_PER_TASK", "3");
  EXPECT_EQ(machine.memory().giver, "available");  // left over in a shell
  EXPECT_EQ(machine.cores().count, 8);
  machine.set("SLURM_JOB_ID", "17");
  EXPECT_EQ(machine.memory().bytes, 4 * GiB);
  EXPECT_EQ(machine.memory().giver, "that the SLURM job was given");
  EXPECT_EQ(machine.cores().count, 3);
  EXPECT_EQ(machine.cores().giver, "SLURM_CPUS_PER_TASK");
  machine.set("SLURM_MEM_PER_NODE", "0");  // all that there is
  EXPECT_EQ(machine.memory().giver, "available");
  machine.set("SLURM_MEM_PER_CPU", "1024");
  EXPECT_EQ(machine.memory().bytes, 3 * GiB);
  machine.set("SLURM_JOB_CPUS_PER_NODE", "4(x2)");
  EXPECT_EQ(machine.memory().bytes, 4 * GiB);
  machine.set("SLURM_CPUS_ON_NODE", "6");
  EXPECT_EQ(machine.memory().bytes, 6 * GiB);
}

TEST(Limits, OfOpenMP) {
  Machine machine;
  for (const auto& [value, count] : std::map<std::string, int>{
           {"2", 2}, {" 3", 3}, {"4,2", 4}, {"100", 8}, {"", 8}, {"0", 8}, {"-1", 8}}) {
    machine.set("OMP_NUM_THREADS", value);
    EXPECT_EQ(machine.cores().count, count) << value;
  }
}

TEST(Limits, MoreThreadsThanAnybodyWantsAreRefused) {
  Machine machine;
  EXPECT_EQ(machine.refusal(0), std::nullopt);
  EXPECT_EQ(machine.refusal(64), std::nullopt);
  EXPECT_EQ(machine.refusal(1000000).value(),
            "expected at most 64 threads, since this process may run on 8 cores, found 1000000; as many "
            "threads as cores are fastest");
  machine.write("proc/self/status", "Cpus_allowed_list:\t0-127\n");
  EXPECT_EQ(machine.refusal(512), std::nullopt);
  EXPECT_TRUE(machine.refusal(513));
}

TEST(Limits, OnTheNumberOfProcesses) {
  Machine machine;
  machine.unified("/");
  machine.write("sys/fs/cgroup/pids.max", "20\n");
  machine.write("sys/fs/cgroup/pids.current", "10\n");
  EXPECT_EQ(machine.cores().count, 6);
  EXPECT_EQ(machine.refusal(6), std::nullopt);
  EXPECT_NE(machine.refusal(7).value().find("pids.max"), std::string::npos);
  machine.write("sys/fs/cgroup/pids.current", "30\n");
  EXPECT_EQ(machine.cores().count, 1);
}

TEST(Limits, OfThisMachineCanBeRead) {
  EXPECT_GT(usable_memory().bytes, 0);
  EXPECT_GE(usable_cores().count, 1);
  EXPECT_TRUE(too_many_threads(1000000));
}

TEST(Limits, FilesThatAreNotThereBoundNothing) {
  const ScratchDirectory nothing;
  const Surroundings empty{nothing.path(), [](const char*) { return std::optional<std::string>(); }};
  EXPECT_GE(usable_cores(empty).count, 1);
  EXPECT_EQ(usable_memory(empty).giver, "available");
}

}  // namespace
}  // namespace vpd
