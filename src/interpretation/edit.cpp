#include "vpd/interpretation/edit.hpp"

#include <algorithm>
#include <set>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/decomposition/columns.hpp"

namespace vpd {
namespace {

at::Tensor vector(const at::Tensor& matrix, std::int64_t dimension, std::int64_t c) {
  return matrix.select(dimension, c).to(at::kDouble).cpu().contiguous();
}

/// Makes the terms of one edit after the other.
class Maker {
 public:
  Maker(const Decomposition& d, const EditMaterial& material) : d_(d), material_(material) {}

  std::vector<RankOneEdit> make(const EditSpec& spec) const {
    const SubcomponentId id = subcomponent_of(spec.key, d_.sites);
    const at::Tensor V = reads(id), U = writes(id);
    std::vector<RankOneEdit> made;
    const auto add = [&](const SubcomponentId& of, const at::Tensor& read, const at::Tensor& write) {
      made.push_back({of.site, column_of(of, d_.sites), read, head_of(spec, of, write), spec.where});
    };
    switch (spec.kind) {
      case EditSpec::Kind::ablate:
        add(id, V, -U);
        break;
      case EditSpec::Kind::scale:
        add(id, V, (spec.number - 1.0) * U);
        break;
      case EditSpec::Kind::activation:
        add(id, V, -U);
        add(id, {}, spec.number * U / U.norm());
        break;
      case EditSpec::Kind::write: {
        const double length = spec.number * sign(spec, id) * U.norm().item<double>();
        add(id, V, length * direction(spec, id) - U);
        break;
      }
      case EditSpec::Kind::read: {
        const SubcomponentId other = other_of(spec);
        VPD_CHECK(other.site == id.site, UsageError,
                  "--read {}={}: expected two subcomponents of one site, found two sites", spec.key,
                  spec.other);
        const at::Tensor from = reads(other);
        add(id, from * (V.norm() / from.norm()), U);
        add(id, V, -U);
        break;
      }
      case EditSpec::Kind::swap: {
        const SubcomponentId other = other_of(spec);
        const at::Tensor its = writes(other);
        VPD_CHECK(its.size(0) == U.size(0), UsageError,
                  "--swap {}={}: expected vectors of one width, found {} and {}", spec.key, spec.other,
                  U.size(0), its.size(0));
        const double ratio = inner_activation(spec, other) / inner_activation(spec, id);
        add(id, V, ratio * its - U);
        add(other, reads(other), U / ratio - its);
        break;
      }
    }
    return made;
  }

 private:
  at::Tensor reads(const SubcomponentId& id) const { return vector(d_.components.V(id.site), 1, id.c); }
  at::Tensor writes(const SubcomponentId& id) const { return vector(d_.components.U(id.site), 0, id.c); }
  SubcomponentId other_of(const EditSpec& spec) const { return subcomponent_of(spec.other, d_.sites); }

  const Evidence& evidence(const EditSpec& spec) const {
    VPD_CHECK(material_.evidence, DataError,
              "--{} {}: expected a harvest, which says with which sign and how strongly it fires, found "
              "none: run `vpd harvest RUN` first",
              name_of(spec.kind), spec.key);
    return *material_.evidence;
  }
  double sign(const EditSpec& spec, const SubcomponentId& id) const {
    return evidence(spec).facts(column_of(id, d_.sites)).sign;
  }
  /// The mean |V_cᵀ x| where it fires.
  double inner_activation(const EditSpec& spec, const SubcomponentId& id) const {
    const SubcomponentFacts facts = evidence(spec).facts(column_of(id, d_.sites));
    VPD_CHECK(facts.firings > 0, UsageError,
              "--swap {}={}: expected subcomponents that fire, found {} that never does", spec.key,
              spec.other, to_text(id, d_.sites));
    return facts.mean_absolute_activation / writes(id).norm().item<double>();
  }

  /// A unit vector of the width that the site writes.
  at::Tensor direction(const EditSpec& spec, const SubcomponentId& id) const {
    constexpr std::string_view unembed = "unembed:";
    at::Tensor found;
    if (spec.other.starts_with(unembed)) {
      const Matrix* head = d_.target->head();
      VPD_CHECK(head, UsageError, "--write {}: expected a target with a head, found one without", spec.key);
      VPD_CHECK(material_.token_named, UsageError, "--write {}: expected a target of tokens", spec.key);
      std::string token = spec.other.substr(unembed.size());
      if (token.size() >= 2 && token.front() == '"' && token.back() == '"')
        token = token.substr(1, token.size() - 2);
      found =
          vector(head->master.defined() ? head->master : head->weight.value, 0, material_.token_named(token));
    } else {
      found = writes(other_of(spec));
    }
    VPD_CHECK(found.size(0) == d_.sites[id.site].d_out, UsageError,
              "--write {}={}: expected a direction of width {}, which {} writes, found {}", spec.key,
              spec.other, d_.sites[id.site].d_out, d_.sites[id.site].name, found.size(0));
    return found / found.norm();
  }

  /// `write` in the part of one head alone.
  at::Tensor head_of(const EditSpec& spec, const SubcomponentId& of, const at::Tensor& write) const {
    if (!spec.head) return write;
    const Site& site = d_.sites[of.site];
    VPD_CHECK(material_.heads > 0, UsageError, "--head: expected a target with attention, found none");
    const bool keys =
        site.name.find("k_proj") != std::string::npos || site.name.find("v_proj") != std::string::npos;
    const bool queries = site.name.find("q_proj") != std::string::npos;
    VPD_CHECK(keys || queries, UsageError,
              "--head: expected subcomponents of a query, key or value matrix, found {}", spec.key);
    const std::int64_t count = keys ? material_.key_heads : material_.heads, width = site.d_out / count;
    VPD_CHECK(*spec.head >= 0 && *spec.head < count, UsageError,
              "--head: expected a head from 0 to {} of {}, found {}", count - 1, site.name, *spec.head);
    at::Tensor part = at::zeros_like(write);
    part.narrow(0, *spec.head * width, width).copy_(write.narrow(0, *spec.head * width, width));
    return part;
  }

  const Decomposition& d_;
  const EditMaterial& material_;
};

}  // namespace

std::vector<RankOneEdit> make_edits(const std::vector<EditSpec>& specs, const Decomposition& decomposition,
                                    const EditMaterial& material) {
  const at::NoGradGuard no_grad;
  const Maker maker(decomposition, material);
  std::vector<RankOneEdit> edits;
  for (const EditSpec& spec : specs) {
    for (RankOneEdit& edit : maker.make(spec)) edits.push_back(std::move(edit));
  }
  return edits;
}

std::vector<RankOneEdit> ablations_of(const std::vector<std::int64_t>& columns, const Decomposition& d) {
  const at::NoGradGuard no_grad;
  std::vector<RankOneEdit> edits;
  for (const std::int64_t column : columns) {
    const SubcomponentId id = subcomponent_at(column, d.sites);
    edits.push_back({.site = id.site,
                     .column = column,
                     .read = vector(d.components.V(id.site), 1, id.c),
                     .write = -vector(d.components.U(id.site), 0, id.c)});
  }
  return edits;
}

std::vector<std::int64_t> edited_columns(const std::vector<RankOneEdit>& edits) {
  std::set<std::int64_t> columns;
  for (const RankOneEdit& edit : edits) columns.insert(edit.column);
  return {columns.begin(), columns.end()};
}

at::Tensor weight_change(const Decomposition& decomposition, std::size_t site,
                         const std::vector<RankOneEdit>& edits) {
  at::Tensor change;
  for (const RankOneEdit& edit : edits) {
    if (edit.site != site) continue;
    const Site& s = decomposition.sites[site];
    VPD_CHECK(edit.where.everywhere(), UsageError,
              "expected edits that act everywhere, which a weight can do, found one of {} that acts in some "
              "places only; leave --where and --positions out",
              s.name);
    VPD_CHECK(edit.read.defined(), UsageError,
              "expected edits that are linear in what a matrix reads, found one of {} that holds an "
              "activation: no weight does that",
              s.name);
    const at::Tensor term = at::outer(edit.write, edit.read);
    change = change.defined() ? change + term : term;
  }
  return change;
}

std::vector<at::Tensor> edit_factors(const std::vector<RankOneEdit>& edits, std::int64_t N, std::int64_t T,
                                     const at::Tensor& importance, const at::TensorOptions& options) {
  std::vector<at::Tensor> factors;
  for (const RankOneEdit& edit : edits) {
    at::Tensor factor = at::ones({N}, options);
    if (edit.where.positions) {
      const at::Tensor t = at::arange(N, options.dtype(at::kLong)).remainder(T);
      factor = factor * t.ge(edit.where.positions->first).logical_and(t.lt(edit.where.positions->second));
    }
    if (edit.where.importance) factor = factor * importance.select(1, edit.column).gt(*edit.where.importance);
    factors.push_back(factor);
  }
  return factors;
}

EditedExecutor::EditedExecutor(const Decomposition& decomposition, const std::vector<RankOneEdit>& edits,
                               std::vector<at::Tensor> factors, Executor* inner)
    : ForwardingExecutor(inner), sites_(decomposition.sites) {
  for (std::size_t i = 0; i < edits.size(); ++i) {
    const at::TensorOptions options = factors[i].options();
    terms_.push_back({static_cast<int>(edits[i].site),
                      edits[i].read.defined() ? edits[i].read.to(options) : at::Tensor(),
                      edits[i].write.to(options), std::move(factors[i])});
  }
}

at::Tensor EditedExecutor::linear(const Matrix& matrix, const at::Tensor& x) {
  at::Tensor y = inner().linear(matrix, x);
  const int site = sites_.of_matrix()[matrix.index];
  for (const Term& term : terms_) {
    if (term.site != site) continue;
    const at::Tensor along =
        term.read.defined() ? x.to(term.read.scalar_type()).matmul(term.read) * term.factor : term.factor;
    y = (y + along.unsqueeze(1) * term.write).to(y.scalar_type());
  }
  return y;
}

at::Tensor EditedExecutor::embedding(const Matrix& matrix, const at::Tensor& tokens) {
  at::Tensor y = inner().embedding(matrix, tokens);
  const int site = sites_.of_matrix()[matrix.index];
  for (const Term& term : terms_) {
    if (term.site != site) continue;
    const at::Tensor along =
        term.read.defined() ? term.read.index_select(0, tokens) * term.factor : term.factor;
    y = (y + along.unsqueeze(1) * term.write).to(y.scalar_type());
  }
  return y;
}

}  // namespace vpd
