#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vpd/config/run.hpp"
#include "vpd/target/target.hpp"

namespace vpd {

/// One decomposed weight matrix (VPD: a site).
struct Site {
  std::string name;
  std::size_t matrix = 0;  ///< in Target::matrices()
  std::int64_t d_in = 0;
  std::int64_t d_out = 0;
  std::int64_t C = 0;       ///< number of subcomponents
  std::int64_t offset = 0;  ///< first of its C columns among the Σ C of all sites
  bool embedding = false;   ///< read by token ids; d_in is the vocabulary

  /// Width of what the causal-importance function reads of it: the input's, or, of an embedding, C: the inner
  /// activations V[token].
  std::int64_t importance_width() const { return embedding ? C : d_in; }

  /// Its columns of x [..., Σ C], a view.
  at::Tensor columns(const at::Tensor& x) const;
};

/// Sites in alphabetical order of their names.
class Sites {
 public:
  Sites() = default;
  explicit Sites(std::vector<Site> sites, std::size_t matrices);

  const std::vector<Site>& all() const { return sites_; }
  std::size_t size() const { return sites_.size(); }
  const Site& operator[](std::size_t i) const { return sites_[i]; }
  auto begin() const { return sites_.begin(); }
  auto end() const { return sites_.end(); }

  /// The site of that name, or nothing.
  std::optional<std::size_t> find(std::string_view name) const;

  at::Tensor columns(const at::Tensor& x, std::size_t i) const { return sites_[i].columns(x); }

  std::int64_t total_C() const { return total_C_; }
  /// Number of entries of all decomposed matrices.
  std::int64_t entries() const;
  /// Per matrix of the target: index of its site, or -1.
  const std::vector<int>& of_matrix() const { return of_matrix_; }

 private:
  std::vector<Site> sites_;
  std::vector<int> of_matrix_;
  std::int64_t total_C_ = 0;
};

/// Subcomponent c of a site: "h.0.mlp.c_fc:12" in text.
struct SubcomponentId {
  std::size_t site = 0;
  std::int64_t c = 0;

  bool operator==(const SubcomponentId&) const = default;
};
std::string to_text(const SubcomponentId& id, const Sites& sites);
/// Throws UsageError for a text that names no subcomponent of these sites.
SubcomponentId subcomponent_of(std::string_view text, const Sites& sites);
/// Its column among the Σ C of all sites.
inline std::int64_t column_of(const SubcomponentId& id, const Sites& sites) {
  return sites[id.site].offset + id.c;
}

/// The first shell pattern that matches a matrix makes it a site. The head and an embedding are sites only
/// where a pattern is their name in full. Throws ConfigError where a pattern matches nothing, or only what
/// earlier patterns took, naming `config_name` (the file).
Sites match_sites(const std::vector<MatrixShape>& matrices, const std::vector<SitePattern>& patterns,
                  const std::string& config_name);
std::vector<MatrixShape> shapes_of(const Target& target);

/// Whether the name matches a shell pattern (*, ?, [..]).
bool matches_pattern(const std::string& pattern, const std::string& name);

}  // namespace vpd
