// Uniform fills and ascent steps on the CPU, and the specification of ascent.cu.
//
//   m = β1 m + (1 - β1) d,  v = β2 v + (1 - β2) d²,  x += rate c1 m / (sqrt(c2 v) + ε),  or  x += rate
//   sign(d)
// clamped to [0, 1] afterwards. Elementwise; x, m and v are overwritten.

#include "ascent_kernel.hpp"
#include "ascent_step.hpp"
#include "parallel.hpp"

namespace vpd {
namespace {

template <class T>
void fill(const FillUniformParams& p) {
  const RandomKey key = p.key.get();
  parallel_rows(p.rows, 8 * p.columns, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      T* x = static_cast<T*>(p.x) + n * p.stride;
      const auto row = static_cast<std::uint64_t>(n + p.first_row);
      for (std::int64_t c = 0; c < p.columns; c += 4) {
        std::uint32_t w[4];
        random_words(key, static_cast<std::uint32_t>(c / 4), row, 0, w);
        for (std::int64_t i = 0; i < 4 && c + i < p.columns; ++i) x[c + i] = static_cast<T>(to_uniform(w[i]));
      }
    }
  });
}

/// Elements [begin, end).
template <class T>
void climb_range(const AscentParams& p, const AscentStep<T>& step, std::int64_t begin, std::int64_t end) {
  const auto from = [begin](void* values) { return values ? static_cast<T*>(values) + begin : nullptr; };
  climb(step, from(p.x), static_cast<const T*>(p.gradient) + begin, from(p.m), from(p.v), end - begin);
}

template <class T>
void step(const AscentParams& p) {
  const AscentStep<T> step(p.rule);
  if (p.counts) {
    parallel_rows(p.count / p.part, 2 * p.part, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t part = begin; part < end; ++part) {
        AscentStep<T> own = step;
        own.unbias(p.rule, static_cast<double>(p.counts[part]));
        climb_range(p, own, part * p.part, (part + 1) * p.part);
      }
    });
    return;
  }
  parallel_rows(p.count, 2, [&](std::int64_t begin, std::int64_t end) { climb_range(p, step, begin, end); });
}

}  // namespace

void fill_uniform_cpu(const FillUniformParams& params) {
  params.type == ElementType::float64 ? fill<double>(params) : fill<float>(params);
}
void ascend_cpu(const AscentParams& params) {
  params.type == ElementType::float64 ? step<double>(params) : step<float>(params);
}

}  // namespace vpd
