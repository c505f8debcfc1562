#include "vpd/evaluation/gatherer.hpp"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

namespace vpd {

bool need_outputs(const Gatherers& gatherers) {
  return std::any_of(gatherers.begin(), gatherers.end(), [](const auto& g) { return g->needs_outputs(); });
}

void gather(const Gatherers& gatherers, const BatchReader& reader, std::int64_t batches,
            const StopAsked& stop, const std::function<void(const std::string&)>& status) {
  const bool any =
      std::any_of(gatherers.begin(), gatherers.end(), [](const auto& g) { return g->needs_batches(); });
  for (std::int64_t k = 0; any && k < batches && reader.rows_of(k) > 0; ++k) {
    end_if_asked(stop, "the evaluation");
    if (status) status(fmt::format("measuring batch {} of {}", k + 1, batches));
    const Batch batch = reader.read(k);
    for (const auto& gatherer : gatherers) {
      if (gatherer->needs_batches()) gatherer->add(batch);
    }
  }
  for (const auto& gatherer : gatherers) gatherer->finish();
}

}  // namespace vpd
