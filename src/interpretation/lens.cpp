#include "lens.hpp"

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>

#include <ATen/ATen.h>

#include "vpd/interpretation/harvest.hpp"
#include "vpd/target/executor.hpp"

namespace vpd {
namespace {

/// Sees which norm each matrix reads: the norm's result is the matrix's very input.
class NormWatch final : public ForwardingExecutor {
 public:
  explicit NormWatch(std::size_t matrices) : norm_of(matrices) {}

  at::Tensor norm(const NormCall& call, const at::Tensor& x) override {
    at::Tensor y = inner().norm(call, x);
    saw(call, y);
    return y;
  }
  AddedNorm add_norm(const NormCall& call, const at::Tensor& x, const at::Tensor& added) override {
    AddedNorm both = inner().add_norm(call, x, added);
    saw(call, both.norm);
    return both;
  }
  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    for (const auto& [y, weight] : seen_)
      if (y.data_ptr() == x.data_ptr()) norm_of[matrix.index] = weight;
    return inner().linear(matrix, x);
  }

  std::vector<std::optional<at::Tensor>> norm_of;  ///< per matrix: the weight of the norm that it reads
  std::optional<at::Tensor> last;

 private:
  void saw(const NormCall& call, const at::Tensor& y) {
    const at::Tensor weight = call.weight->value.to(at::kFloat);
    seen_.emplace_back(y, weight);  // kept, so that no other tensor gets its place in memory
    if (call.place == NormPlace::last) last = weight;
  }

  std::vector<std::pair<at::Tensor, at::Tensor>> seen_;
};

/// The tokens of the highest and the lowest dot products, one row of `lens` after the other.
void choose(const at::Tensor& dots, const at::Tensor& cosines, std::int64_t first, Lens& lens) {
  const at::Tensor dot = dots.to(at::kFloat).cpu().contiguous(),
                   cosine = cosines.to(at::kFloat).cpu().contiguous();
  const std::int64_t V = dot.size(1), count = std::min(lens_tokens, V);
  std::vector<std::int32_t> order(static_cast<std::size_t>(V));
  for (std::int64_t c = 0; c < dot.size(0); ++c) {
    const float *d = dot.const_data_ptr<float>() + c * V, *k = cosine.const_data_ptr<float>() + c * V;
    for (const bool lowest : {false, true}) {
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + count, order.end(),
                        [&](std::int32_t a, std::int32_t b) {
                          if (d[a] != d[b]) return lowest ? d[a] < d[b] : d[a] > d[b];
                          return a < b;
                        });
      const std::int64_t at = (first + c) * 2 * lens_tokens + (lowest ? lens_tokens : 0);
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int32_t v = order[static_cast<std::size_t>(i)];
        lens.token.data_ptr<std::int32_t>()[at + i] = v;
        lens.dot.data_ptr<float>()[at + i] = d[v];
        lens.cosine.data_ptr<float>()[at + i] = k[v];
      }
    }
  }
}

/// A pass over two tokens, watched.
std::unique_ptr<NormWatch> watched(const Decomposition& d) {
  auto watch = std::make_unique<NormWatch>(d.target->matrices().size());
  const std::int64_t T = std::min<std::int64_t>(2, d.target->longest_sequence());
  static_cast<void>(
      d.target->forward(at::zeros({1, T}, at::dtype(at::kLong).device(d.numerics.device)), *watch));
  return watch;
}

StreamRole role_of(const Decomposition& d, const NormWatch& watch, std::size_t number) {
  const Matrix& matrix = d.target->matrices()[number];
  const Matrix* head = d.target->head();
  const std::int64_t width = matrix.embedding ? matrix.table().value.size(1) : matrix.d_out();
  if (watch.norm_of[number]) return StreamRole::reads;
  return width == head->d_in() && number != head->index ? StreamRole::writes : StreamRole::none;
}

}  // namespace

std::vector<StreamRole> matrix_roles(const Decomposition& d) {
  const at::NoGradGuard no_grad;
  std::vector<StreamRole> roles(d.target->matrices().size(), StreamRole::none);
  if (d.target->vocabulary_size() == 0 || !d.target->head()) return roles;
  const std::unique_ptr<NormWatch> watch = watched(d);
  for (std::size_t i = 0; i < roles.size(); ++i) roles[i] = role_of(d, *watch, i);
  return roles;
}

std::vector<StreamRole> stream_roles(const Decomposition& d) {
  const std::vector<StreamRole> of_matrix = matrix_roles(d);
  std::vector<StreamRole> roles;
  for (const Site& site : d.sites.all()) roles.push_back(of_matrix[site.matrix]);
  return roles;
}

Lens lens_of(const Decomposition& d, const at::Tensor& sign) {
  const at::NoGradGuard no_grad;
  const std::int64_t columns = d.sites.total_C(), shown = 2 * lens_tokens;
  Lens lens{at::full({columns, shown}, -1, at::kInt), at::zeros({columns, shown}),
            at::zeros({columns, shown})};
  const Target& target = *d.target;
  const Matrix* head = target.head();
  const auto& matrices = target.matrices();
  const auto embedding =
      std::find_if(matrices.begin(), matrices.end(), [](const Matrix& m) { return m.embedding; });
  if (target.vocabulary_size() == 0 || !head) return lens;

  const std::unique_ptr<NormWatch> watch = watched(d);
  at::Tensor unembedding = head->weight.value.to(at::kFloat);
  if (watch->last) unembedding = unembedding * *watch->last;
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const Site& site = d.sites[i];
    const StreamRole role = role_of(d, *watch, site.matrix);
    at::Tensor mine, rows;
    if (role == StreamRole::reads && embedding != matrices.end()) {
      mine = d.components.V(i).t();
      rows = embedding->weight.value.t().to(at::kFloat) * *watch->norm_of[site.matrix];
    } else if (role == StreamRole::writes) {
      mine = d.components.U(i);
      rows = unembedding;
    } else {
      continue;
    }
    const at::Tensor lengths = rows.norm(2, {1});
    constexpr std::int64_t at_once = 256;
    for (std::int64_t c = 0; c < site.C; c += at_once) {
      const std::int64_t count = std::min(at_once, site.C - c);
      const at::Tensor some = mine.narrow(0, c, count).to(at::kFloat);
      const at::Tensor dot =
          at::matmul(some, rows.t()) * sign.narrow(0, site.offset + c, count).to(some.device()).unsqueeze(1);
      choose(dot, dot / (some.norm(2, {1}).unsqueeze(1) * lengths).clamp_min(1e-30), site.offset + c, lens);
    }
  }
  return lens;
}

}  // namespace vpd
