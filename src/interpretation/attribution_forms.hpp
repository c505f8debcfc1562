#pragma once

#include <memory>
#include <vector>

#include "attribution_rows.hpp"

namespace vpd {

/// One way of summing edges, for some wires.
class AttributionForm {
 public:
  virtual ~AttributionForm() = default;
  virtual void add(const AttributionRows& rows) = 0;
  virtual void finish(std::vector<SummedWire>& wires) const = 0;
};

/// From one source, which writes the stream, into all targets that read it through one norm. `part`: where
/// they read, as in wires.cpp; `targets` with an output last.
std::unique_ptr<AttributionForm> stream_form(const AttributionContext& context,
                                             const std::vector<Wire>& wires, std::size_t part);
std::unique_ptr<AttributionForm> mlp_form(const AttributionContext& context, const Wire& wire);
std::unique_ptr<AttributionForm> values_form(const AttributionContext& context, const Wire& wire);
/// Of queries and of keys.
std::unique_ptr<AttributionForm> scores_form(const AttributionContext& context, const Wire& wire);
/// From several sources into one target.
std::unique_ptr<AttributionForm> backward_form(const AttributionContext& context,
                                               const std::vector<Wire>& wires);

}  // namespace vpd
