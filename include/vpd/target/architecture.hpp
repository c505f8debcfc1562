#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "vpd/io/dataset.hpp"

// What a target is made of, without its weights: enough to match sites, to count a training step's operations
// and to predict its memory.

namespace vpd {

/// How a target's output is compared with the output under masks (method, section 5): `kl` between softmaxes
/// of logits, in nats, for language models; `mse`, the mean squared error of a row's entries, for the toys.
enum class Divergence { kl, mse };

/// A weight matrix that can be a site: y = x Wᵀ + bias, W [d_out, d_in].
struct MatrixShape {
  std::string name;
  std::int64_t d_in = 0;  ///< of an embedding: the vocabulary
  std::int64_t d_out = 0;
  bool in_block = true;    ///< false for head and embedding: a site only where it is named in full
  bool embedding = false;  ///< read by token ids: no matrix product
};

/// Softmax attention, of query heads of which several neighbours may share a head of keys and values.
struct AttentionShape {
  std::int64_t heads = 0;
  std::int64_t key_heads = 0;
  std::int64_t head_width = 0;
  bool causal = true;

  std::int64_t width() const { return heads * head_width; }
  std::int64_t key_width() const { return key_heads * head_width; }
};

/// One place in a forward pass: what lies between it and the place before, and then matrices that all read
/// one input. LlamaSimpleMLP's block is four of them: q, k and v; o; c_fc; down_proj.
struct Stage {
  std::size_t first = 0;  ///< in Architecture::matrices
  std::size_t count = 1;  ///< matrices [first, first + count); 0: operations alone, as at a model's end

  /// Entries a position that the operations before the matrices keep for their backward pass, attention
  /// apart: the input of a norm or of an activation function, both factors of a product of activations.
  std::int64_t kept = 0;

  /// Attention as the last of these operations, over what the matrices of the stage before gave. It keeps
  /// queries, keys, values and its output, which is what this stage's matrices read.
  std::optional<AttentionShape> attention;
};

struct Architecture {
  std::vector<MatrixShape> matrices;  ///< as Target::matrices() lists them, in the order of the stages
  std::vector<Stage> stages;          ///< in the order of a forward pass
  std::vector<std::size_t> blocks;    ///< first stage of each block, at which a pass can begin, and of what
                                      ///< is behind the last
  std::int64_t parameters = 0;        ///< of the whole target; a tied head is not counted again
  std::int64_t output_width = 0;      ///< of a row of the output: the vocabulary, for a language model
  std::int64_t longest_sequence = 1;
  std::int64_t features = 0;  ///< entries of a row, where it reads features; 0: token ids below output_width
  bool has_head = true;       ///< whether output() is one matrix, the last one (Target::head())
  Divergence divergence = Divergence::kl;

  InputShape input() const { return {features > 0 ? 0 : output_width, features, longest_sequence}; }

  /// Adds matrices that read one input to the end, as a stage behind `kept` entries and `attention`.
  void add_stage(std::vector<MatrixShape> shapes, std::int64_t kept,
                 std::optional<AttentionShape> attention = {});
  /// The next stage begins a block.
  void begin_block() { blocks.push_back(stages.size()); }
};

}  // namespace vpd
