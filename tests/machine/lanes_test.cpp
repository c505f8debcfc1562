#include "vpd/machine/lanes.hpp"

#include <vector>

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <omp.h>

namespace vpd {
namespace {

TEST(Lanes, ComputeOnTheirOwnThreadsAlone) {
  const auto mkl_threads = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "MKL_Get_Max_Threads"));
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  constexpr int count = 3;
  std::vector<int> threads(count), of_libtorch(count), of_mkl(count, 1);
  Lanes lanes(count, /*threads_each=*/1);
  lanes.run([&](int lane) {
    const auto i = static_cast<std::size_t>(lane);
    threads[i] = omp_get_max_threads();
    of_libtorch[i] = at::get_num_threads();
    if (mkl_threads) of_mkl[i] = mkl_threads();
  });
  EXPECT_EQ(threads, std::vector<int>(count, 1));
  EXPECT_EQ(of_libtorch, std::vector<int>(count, 1));
  EXPECT_EQ(of_mkl, std::vector<int>(count, 1));
  EXPECT_EQ(omp_get_max_threads(), 3);
  EXPECT_EQ(mkl_threads ? mkl_threads() : 3, 3);
  at::set_num_threads(before);
  if (!mkl_threads) GTEST_SKIP() << "NOT TESTED: products of MKL, which this LibTorch does not have";
}

}  // namespace
}  // namespace vpd
