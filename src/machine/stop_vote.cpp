#include "stop_vote.hpp"

#include <ATen/ATen.h>

namespace vpd {

bool StopVote::operator()() {
  const bool asked = asked_ && asked_();
  if (processes_.alone()) return asked;
  sum_.wait();
  const bool stop = votes_.defined() && votes_.item<float>() != 0.0f;
  votes_ = at::full({1}, asked ? 1.0f : 0.0f);
  sum_ = processes_.begin_sum(votes_);
  return stop;
}

}  // namespace vpd
