#pragma once

#include <map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/interpretation/dataset_attributions.hpp"

namespace vpd {

/// The subcomponents of a site that are looked at, wide.
struct SiteVectors {
  at::Tensor columns;  ///< int64 [C]
  at::Tensor U;        ///< [C, d_out]
  at::Tensor V;        ///< [d_in, C]
  at::Tensor length;   ///< ‖U_c‖ [C]
};

/// What all forms share.
struct AttributionContext {
  const Decomposition& d;
  DatasetAttributionSettings settings;
  std::vector<SiteVectors> sites;
  std::optional<Anatomy> anatomy;
};

/// Attention of one block on some rows, after norms and rotation; key and value heads stand for each query
/// head.
struct AttentionSeen {
  at::Tensor q, k, v;  ///< [B, K, T, d_head]
  at::Tensor pattern;  ///< [B, K, T, T]
  at::Tensor average;  ///< [B, K, T, d_head]: the values that it mixes
};

/// A lane's rows of a batch: what closed forms are made of, from one pass over them.
struct AttributionRows {
  AttributionRows(const AttributionContext& context, const LaneBatch& lane, std::int64_t T);

  std::int64_t B = 0, T = 0;
  at::Tensor input;                ///< tokens [B, T], or features
  at::Tensor tokens;               ///< [N]; undefined: features
  std::vector<at::Tensor> h;       ///< per site [N, C]: Vᵀ x
  std::vector<at::Tensor> beta;    ///< [N, C]: g h
  std::vector<at::Tensor> strong;  ///< [N, C]: g h where it fires (absolute)
  std::vector<at::Tensor> sign;    ///< [N, C]: the sign of h where it fires (absolute)
  std::map<std::pair<std::size_t, NormPlace>, at::Tensor> norms;  ///< what they read, by block and place
  std::map<std::size_t, at::Tensor> outputs;       ///< of matrices in front of activation functions
  std::map<std::size_t, AttentionSeen> attention;  ///< by block
};

}  // namespace vpd
