#include "vpd/config/training.hpp"

#include <spdlog/fmt/fmt.h>

namespace vpd {

std::optional<config::Complaint> TrainingConfig::validate() const {
  if (micro_batch_size && batch_size % *micro_batch_size != 0) {
    return config::Complaint{
        "micro_batch_size", fmt::format("expected a divisor of batch_size, which is {}, found {}", batch_size,
                                        *micro_batch_size)};
  }
  if (micro_batch_size && background_batch_size && *background_batch_size % *micro_batch_size != 0) {
    return config::Complaint{"background_batch_size",
                             fmt::format("expected a multiple of micro_batch_size, which is {}, found {}",
                                         *micro_batch_size, *background_batch_size)};
  }
  return std::nullopt;
}

}  // namespace vpd
