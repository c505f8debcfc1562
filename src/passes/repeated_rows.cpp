#include "vpd/passes/repeated_rows.hpp"

#include <functional>

#include <ATen/ATen.h>

namespace vpd {
namespace {

/// One after the other; a tensor that several sites read stays one.
std::vector<at::Tensor> concatenated(const std::vector<const CleanPass*>& passes,
                                     std::vector<at::Tensor> CleanPass::*part) {
  std::vector<at::Tensor> all;
  const std::vector<at::Tensor>& first = passes.front()->*part;
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (i > 0 && first[i].is_same(first[i - 1])) {
      all.push_back(all.back());
      continue;
    }
    std::vector<at::Tensor> rows;
    for (const CleanPass* pass : passes) rows.push_back((pass->*part)[i]);
    all.push_back(at::cat(rows));
  }
  return all;
}

at::Tensor concatenated(const std::vector<const CleanPass*>& passes, const at::Tensor& first,
                        const std::function<at::Tensor(const CleanPass&)>& part) {
  if (!first.defined()) return first;
  std::vector<at::Tensor> rows;
  for (const CleanPass* pass : passes) rows.push_back(part(*pass));
  return at::cat(rows);
}

}  // namespace

at::Tensor RepeatedRows::spread(const at::Tensor& x) const {
  if (!x.defined()) return x;
  return x.unflatten(0, {distinct.B(), -1}).index_select(0, which).flatten(0, 1);
}

CleanPass RepeatedRows::all() const {
  CleanPass pass = distinct;
  pass.input = distinct.input.index_select(0, which);
  pass.output = spread(distinct.output);
  pass.start.residual = spread(distinct.start.residual);
  for (std::vector<at::Tensor> CleanPass::*part : {&CleanPass::inputs, &CleanPass::outputs}) {
    const std::vector<at::Tensor>& before = distinct.*part;
    std::vector<at::Tensor>& after = pass.*part;
    for (std::size_t i = 0; i < before.size(); ++i)
      after[i] = i > 0 && before[i].is_same(before[i - 1]) ? after[i - 1] : spread(before[i]);
  }
  return pass;
}

std::optional<RepeatedRows> CleanPassCache::look_up(const Decomposition& decomposition,
                                                    const at::Tensor& input, bool keep_outputs,
                                                    ComparedPositions compared) {
  constexpr std::size_t most_kept = 256;
  const std::int64_t B = input.size(0), T = input.size(1);
  const at::Tensor rows = input.contiguous();
  std::map<std::vector<std::int64_t>, std::int64_t> number;  // of each row that is there, by its tokens
  std::vector<std::int64_t> which, first;
  for (std::int64_t b = 0; b < B; ++b) {
    const auto* tokens = rows.const_data_ptr<std::int64_t>() + b * T;
    const auto [place, is_new] = number.try_emplace({tokens, tokens + T}, number.size());
    if (is_new) first.push_back(b);
    which.push_back(place->second);
  }
  if (2 * first.size() > which.size()) return std::nullopt;
  if (passes_.size() > most_kept) passes_.clear();
  std::vector<const CleanPass*> distinct(first.size());
  for (const auto& [tokens, i] : number) {
    const auto place = static_cast<std::size_t>(i);
    const auto [found, is_new] = passes_.try_emplace(tokens);
    if (is_new)
      found->second = clean_pass(decomposition, rows.narrow(0, first[place], 1), keep_outputs, compared);
    distinct[place] = &found->second;
  }
  const CleanPass& one = *distinct.front();
  CleanPass together = one;
  together.input = concatenated(distinct, one.input, [](const CleanPass& p) { return p.input; });
  together.output = concatenated(distinct, one.output, [](const CleanPass& p) { return p.output; });
  together.start.residual =
      concatenated(distinct, one.start.residual, [](const CleanPass& p) { return p.start.residual; });
  together.inputs = concatenated(distinct, &CleanPass::inputs);
  together.outputs = concatenated(distinct, &CleanPass::outputs);
  return RepeatedRows{std::move(together), at::tensor(which, at::kLong)};
}

}  // namespace vpd
