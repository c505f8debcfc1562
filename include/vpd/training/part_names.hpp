#pragma once

#include <string>

/// Names of the parts of a training step, the same where its operations are counted (count_operations) and
/// where it announces what it is doing: each part is a user scope of LibTorch's RecordFunction, on the thread
/// that called the step, which profilers and benchmarks/step listen to. A term of the objective is a part by
/// its label.
namespace vpd::step_part {

inline constexpr const char* clean_forward = "clean forward";
inline constexpr const char* importance_forward = "causal importance, forward";
inline constexpr const char* importance_backward = "causal importance, backward";
inline constexpr const char* penalty_sums = "penalty sums";
inline constexpr const char* optimizer = "optimizer";
inline constexpr const char* last_ascents = "last ascents";

inline std::string ascents(const std::string& label) { return label + ", ascents"; }
inline std::string attributions(const std::string& label) { return label + ", attributions"; }

}  // namespace vpd::step_part
