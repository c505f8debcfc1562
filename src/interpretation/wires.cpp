// Which sites feed which without passing another one.

#include <algorithm>

#include "vpd/interpretation/dataset_attributions.hpp"

namespace vpd {
namespace {

/// Where a matrix stands. Part 2 b is the attention of block b, part 2 b + 1 its MLP; part p reads the stream
/// at p, and what it adds is in the stream from p + 1 on. What reads behind the last block reads at `end`.
struct Place {
  bool reaches = false;  ///< what it gives gets into the stream along paths through no other site
  bool writes = false;   ///< and is what is added to it
  std::size_t from = 0;
  bool is_fed = false;  ///< what it reads comes from the stream along such paths
  bool reads = false;   ///< and is the stream's norm
  std::size_t at = 0;
};

class WireFinder {
 public:
  WireFinder(const Decomposition& d, const Anatomy& anatomy, bool complete)
      : d_(d), anatomy_(anatomy), complete_(complete), places_(d.target->matrices().size()) {
    for (std::size_t b = 0; b < anatomy.blocks.size(); ++b) {
      if (anatomy.blocks[b].attention) place(*anatomy.blocks[b].attention, 2 * b);
      if (anatomy.blocks[b].mlp) place(*anatomy.blocks[b].mlp, 2 * b + 1);
    }
    output_ = {.is_fed = true, .reads = true, .at = 2 * anatomy.blocks.size()};
    places_[anatomy.head] = output_;
    places_[anatomy.embedding] = embedding_ = {.reaches = true, .writes = true, .from = 0};
  }

  std::vector<Wire> find() const {
    std::vector<Wire> wires;
    const bool has_tokens = d_.target->vocabulary_size() > 0 && !is_site(anatomy_.embedding);
    for (std::size_t t = 0; t <= d_.sites.size(); ++t) {
      const bool output = t == d_.sites.size();
      const std::optional<std::size_t> target = output ? std::nullopt : std::optional(t);
      const Place& to = output ? output_ : places_[d_.sites[t].matrix];
      for (std::size_t s = 0; s < d_.sites.size(); ++s) {
        if (const auto route = output ? std::nullopt : within_part(s, t))
          wires.push_back({s, target, *route});
        else if (const auto by_stream = through_stream(places_[d_.sites[s].matrix], to))
          wires.push_back({s, target, *by_stream});
      }
      if (!has_tokens) continue;
      if (const auto route = through_stream(embedding_, to)) wires.push_back({std::nullopt, target, *route});
    }
    return wires;
  }

 private:
  bool is_site(std::size_t matrix) const { return d_.sites.of_matrix()[matrix] >= 0; }

  void place(const AttentionParts& a, std::size_t part) {
    const bool score_is_open = !complete_ && (!is_site(a.q) || !is_site(a.k));
    const bool is_fed = !is_site(a.v) || score_is_open, reaches = !is_site(a.o);
    for (const std::size_t matrix : {a.q, a.k, a.v})
      places_[matrix] = {.reaches = reaches && (matrix == a.v || !complete_),
                         .from = part + 1,
                         .is_fed = true,
                         .reads = true,
                         .at = part};
    places_[a.o] = {.reaches = true, .writes = true, .from = part + 1, .is_fed = is_fed, .at = part};
    if (reaches && is_fed) open_.push_back(part);
    within_.push_back({a.v, a.o, WireRoute::values});
    if (complete_) return;
    within_.push_back({a.q, a.o, WireRoute::queries});
    within_.push_back({a.k, a.o, WireRoute::keys});
  }
  void place(const MlpParts& mlp, std::size_t part) {
    std::vector<std::size_t> inner = {mlp.in};
    if (mlp.gate) inner.push_back(*mlp.gate);
    const bool reaches = !is_site(mlp.out),
               is_fed = std::any_of(inner.begin(), inner.end(), [&](std::size_t m) { return !is_site(m); });
    for (const std::size_t matrix : inner) {
      places_[matrix] = {.reaches = reaches, .from = part + 1, .is_fed = true, .reads = true, .at = part};
      within_.push_back({matrix, mlp.out, WireRoute::mlp});
    }
    places_[mlp.out] = {.reaches = true, .writes = true, .from = part + 1, .is_fed = is_fed, .at = part};
    if (reaches && is_fed) open_.push_back(part);
  }

  std::optional<WireRoute> within_part(std::size_t source, std::size_t target) const {
    for (const Within& one : within_)
      if (one.from == d_.sites[source].matrix && one.to == d_.sites[target].matrix) return one.route;
    return std::nullopt;
  }

  std::optional<WireRoute> through_stream(const Place& source, const Place& target) const {
    if (!source.reaches || !target.is_fed || source.from > target.at) return std::nullopt;
    const bool direct =
        source.writes && target.reads && std::none_of(open_.begin(), open_.end(), [&](std::size_t part) {
          return part >= source.from && part < target.at;
        });
    return direct ? WireRoute::stream : WireRoute::backward;
  }

  struct Within {
    std::size_t from, to;
    WireRoute route;
  };

  const Decomposition& d_;
  const Anatomy& anatomy_;
  bool complete_;
  std::vector<Place> places_;  // of each matrix
  Place embedding_, output_;
  std::vector<Within> within_;
  std::vector<std::size_t> open_;  // parts that derivatives pass from stream to stream
};

}  // namespace

std::vector<Wire> wires_of(const Decomposition& d, bool complete) {
  if (const std::optional<Anatomy> anatomy = d.target->anatomy())
    return WireFinder(d, *anatomy, complete).find();
  // A target that is no residual stream: whatever runs before may lead there.
  std::vector<Wire> wires;
  for (std::size_t t = 0; t <= d.sites.size(); ++t)
    for (std::size_t s = 0; s < d.sites.size(); ++s)
      if (t == d.sites.size() || d.sites[s].matrix < d.sites[t].matrix)
        wires.push_back({s, t == d.sites.size() ? std::nullopt : std::optional(t), WireRoute::backward});
  return wires;
}

}  // namespace vpd
