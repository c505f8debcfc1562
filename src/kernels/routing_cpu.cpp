// Routing draws on the CPU, and the specification of routing.cu: a site is in the subset where fewer than k
// sites have a smaller word.

#include <vector>

#include "parallel.hpp"
#include "routing_kernel.hpp"

namespace vpd {

void routing_cpu(const RoutingParams& p) {
  const RandomKey key = p.key.get();
  const auto probability = static_cast<float>(p.probability.get());
  parallel_rows(p.rows, 8 * p.sites, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint32_t> words(static_cast<std::size_t>(p.sites));
    for (std::int64_t n = begin; n < end; ++n) {
      const auto row = static_cast<std::uint64_t>(n + p.first_row);
      for (std::int64_t l = 0; l < p.sites; ++l) words[static_cast<std::size_t>(l)] = site_word(key, row, l);
      const std::int64_t k = p.subset ? subset_size(key, row, p.sites) : 0;
      for (std::int64_t l = 0; l < p.sites; ++l) {
        const std::uint32_t own = words[static_cast<std::size_t>(l)];
        bool on = to_uniform(own) < probability;
        if (p.subset) {
          std::int64_t before = 0;
          for (std::int64_t other = 0; other < p.sites; ++other) {
            const std::uint32_t word = words[static_cast<std::size_t>(other)];
            before += word < own || (word == own && other < l);
          }
          on = before < k;
        }
        p.out[l * p.rows + n] = on ? 1 : 0;
      }
    }
  });
}

}  // namespace vpd
