#pragma once

// Which subcomponents usually feed which: edges of prompts' graphs summed over data, mostly without backward
// passes, since between what writes the residual stream and what reads it they have a closed form.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/passes/batch.hpp"

namespace vpd {

struct DatasetAttributionSettings {
  /// Norms' denominators, attention patterns and secants of activation functions are held: edges then add up.
  /// Else derivatives are true.
  bool complete = false;
  /// Besides, what sources that fire add to the magnitude of targets that fire.
  bool absolute = false;
  double threshold = 0.1;  ///< they fire where their importance is above
};

/// How the edges of a source into a target are summed.
enum class WireRoute : std::uint8_t {
  stream,    ///< through the residual stream and a norm
  mlp,       ///< through an elementwise function
  values,    ///< mixed by attention
  queries,   ///< through the attention pattern
  keys,      ///< likewise
  backward,  ///< a backward pass for each target: other matrices lie between
};

/// A source that leads into a target along paths through no other site.
struct Wire {
  std::optional<std::size_t> source;  ///< site; nothing: rows of the embedding
  std::optional<std::size_t> target;  ///< site; nothing: entries of what the head reads
  WireRoute route = WireRoute::backward;
};
/// All of a decomposition. Under `complete` queries and keys lead nowhere.
std::vector<Wire> wires_of(const Decomposition& decomposition, bool complete);

/// Sums over positions n of ∂F/∂h' h' g' from each source (or token of the embedding) into each target,
/// F = ‖U_c‖ V_cᵀ x of a subcomponent, or an entry of the normalised final stream.
struct SummedWire {
  Wire wire;
  at::Tensor sum;       ///< float64 [C', C]
  at::Tensor absolute;  ///< Σ sign(F) ∂F/∂h' h' g' where both fire; undefined: not asked for, or an output
};

struct DatasetAttributions {
  std::int64_t positions = 0;
  std::vector<at::Tensor> columns;  ///< of each site int64: those that rows and columns of sums stand for
  std::vector<SummedWire> wires;
  at::Tensor importance_sum;  ///< float64 [Σ C]: Σ g
  at::Tensor activation_rms;  ///< float64 [Σ C]: of ‖U‖ Vᵀ x, over all positions
  at::Tensor token_count;     ///< int64 [vocabulary], or empty
  at::Tensor logit_rms;       ///< float64 [vocabulary], or of a model of features its outputs

  /// A wire's sums over Σ g of the source (an embedding's: how often its token comes) and the RMS of the
  /// target's activation; undefined: of an output.
  at::Tensor normalised(const SummedWire& wire) const;
  /// Attributions to tokens' logits, over Σ g and the logits' RMS: `wire` leads into the output, `head` is
  /// the head's weight [vocabulary, d].
  at::Tensor to_logits(const SummedWire& wire, const at::Tensor& head) const;

  /// The sources' weights of a wire: float64 [C'].
  at::Tensor source_weights(const Wire& wire) const;
  std::vector<std::int64_t> offsets;  ///< of each site, among Σ C
};

/// Adds up over batches. `columns`: of each site the subcomponents that are looked at, int64.
class AttributionSums {
 public:
  AttributionSums(const Decomposition& decomposition, const DatasetAttributionSettings& settings,
                  std::vector<at::Tensor> columns);
  ~AttributionSums();

  void add(const Batch& batch);
  DatasetAttributions attributions() const;

  /// Bytes that it will hold in sums.
  static double bytes_for(const Decomposition& decomposition, const DatasetAttributionSettings& settings,
                          const std::vector<at::Tensor>& columns);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// All subcomponents of each site.
std::vector<at::Tensor> all_columns(const Sites& sites);

}  // namespace vpd
