#include "vpd/decomposition/sites.hpp"

#include <algorithm>
#include <charconv>

#include <ATen/core/Tensor.h>
#include <fnmatch.h>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"

namespace vpd {

Sites::Sites(std::vector<Site> sites, std::size_t matrices)
    : sites_(std::move(sites)), of_matrix_(matrices, -1) {
  std::sort(sites_.begin(), sites_.end(), [](const Site& a, const Site& b) { return a.name < b.name; });
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    of_matrix_[sites_[i].matrix] = static_cast<int>(i);
    sites_[i].offset = total_C_;
    total_C_ += sites_[i].C;
  }
}

std::int64_t Sites::entries() const {
  std::int64_t entries = 0;
  for (const Site& site : sites_) entries += site.d_in * site.d_out;
  return entries;
}

std::optional<std::size_t> Sites::find(std::string_view name) const {
  for (std::size_t i = 0; i < sites_.size(); ++i) {
    if (sites_[i].name == name) return i;
  }
  return std::nullopt;
}

at::Tensor Site::columns(const at::Tensor& x) const { return x.narrow(-1, offset, C); }

std::string to_text(const SubcomponentId& id, const Sites& sites) {
  return fmt::format("{}:{}", sites[id.site].name, id.c);
}

SubcomponentId subcomponent_of(std::string_view text, const Sites& sites) {
  const std::size_t colon = text.rfind(':');
  const std::string name(text.substr(0, colon));
  std::int64_t c = -1;
  if (colon != std::string_view::npos) {
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, c);
    if (error != std::errc() || rest != end) c = -1;
  }
  VPD_CHECK(c >= 0, UsageError, "expected a subcomponent as SITE:NUMBER, as in {}:0, found {}",
            sites.begin()->name, quote_foreign(text));
  const std::optional<std::size_t> site = sites.find(name);
  if (!site) {
    std::vector<std::string> names;
    for (const Site& one : sites) names.push_back(one.name);
    const auto close = nearest(name, names);
    throw UsageError(
        fmt::format("expected a subcomponent of a decomposed matrix, found {}: {} is not decomposed; {}",
                    quote_foreign(text), quote_foreign(name),
                    close ? fmt::format("did you mean {}?", *close)
                          : fmt::format("name one that is, such as {}", sites.begin()->name)));
  }
  VPD_CHECK(c < sites[*site].C, UsageError, "expected one of the {} subcomponents of {}, 0 to {}, found {}",
            sites[*site].C, name, sites[*site].C - 1, c);
  return {*site, c};
}

bool matches_pattern(const std::string& pattern, const std::string& name) {
  return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

std::vector<MatrixShape> shapes_of(const Target& target) {
  std::vector<MatrixShape> shapes;
  for (const Matrix& matrix : target.matrices())
    shapes.push_back({matrix.name, matrix.d_in(), matrix.d_out(), matrix.in_block, matrix.embedding});
  return shapes;
}

Sites match_sites(const std::vector<MatrixShape>& matrices, const std::vector<SitePattern>& patterns,
                  const std::string& config_name) {
  std::vector<Site> sites;
  std::vector<bool> taken(matrices.size(), false);
  for (std::size_t k = 0; k < patterns.size(); ++k) {
    const SitePattern& pattern = patterns[k];
    bool matched = false, took = false;
    for (std::size_t i = 0; i < matrices.size(); ++i) {
      const MatrixShape& matrix = matrices[i];
      const bool fits =
          matrix.in_block ? matches_pattern(pattern.pattern, matrix.name) : pattern.pattern == matrix.name;
      matched = matched || fits;
      if (!fits || taken[i]) continue;
      taken[i] = took = true;
      sites.push_back({.name = matrix.name,
                       .matrix = i,
                       .d_in = matrix.d_in,
                       .d_out = matrix.d_out,
                       .C = pattern.C,
                       .embedding = matrix.embedding});
    }
    if (took) continue;
    if (matched) {
      throw ConfigError(
          fmt::format("{}: sites[{}].pattern: \"{}\" matches only weight matrices that earlier patterns "
                      "took: put it before "
                      "them or remove it",
                      config_name, k, pattern.pattern));
    }
    std::vector<std::string> names;
    for (const MatrixShape& matrix : matrices) names.push_back(matrix.name);
    const auto close = nearest(pattern.pattern, names);
    throw ConfigError(fmt::format(
        "{}: sites[{}].pattern: expected a shell pattern over the target's weight matrices ({} ... {}), but "
        "\"{}\" matches none{}",
        config_name, k, names.front(), names.back(), pattern.pattern,
        close ? fmt::format("; did you mean \"{}\"?", *close) : ""));
  }
  return Sites(std::move(sites), matrices.size());
}

}  // namespace vpd
