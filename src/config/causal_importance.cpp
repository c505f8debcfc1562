#include "vpd/config/causal_importance.hpp"

#include <spdlog/fmt/fmt.h>

namespace vpd {

std::optional<config::Complaint> GlobalSharedTransformerConfig::validate() const {
  if (d_model % n_heads != 0 || d_model / n_heads % 2 != 0) {
    return config::Complaint{"n_heads",
                             fmt::format("expected a number that divides d_model, which is {}, into even "
                                         "parts (rotary embedding turns pairs), found {}",
                                         d_model, n_heads)};
  }
  return std::nullopt;
}

}  // namespace vpd
