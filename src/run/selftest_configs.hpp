#pragma once

#include <string_view>

namespace vpd {

/// configs/toys/tms_5-2_target.yaml and tms_5-2.yaml as they were when the library was built.
extern const std::string_view selftest_target_config;
extern const std::string_view selftest_decomposition_config;

}  // namespace vpd
