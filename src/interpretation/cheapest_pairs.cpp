#include "cheapest_pairs.hpp"

#include <algorithm>
#include <cmath>

namespace vpd {

CheapestPairs::CheapestPairs(const GroupCounts& counts, double alpha, bool together)
    : counts_(counts),
      alpha_(alpha),
      together_(together),
      bits_(std::log2(static_cast<double>(counts.groups().size() - 1))),
      count_(counts.groups().size()),
      size_(counts.groups().size()),
      rows_(counts.groups().size()) {
  for (const std::int32_t group : counts.groups()) read_group(group);
  for (const std::int32_t group : counts.groups()) look_through(group);
}

void CheapestPairs::read_group(std::int32_t group) {
  count_[static_cast<std::size_t>(group)] = static_cast<double>(counts_.count(group));
  size_[static_cast<std::size_t>(group)] = static_cast<double>(counts_.size(group));
}

CheapestPairs::Pair CheapestPairs::pair(std::int32_t left, std::int32_t right, std::int32_t joint) const {
  const auto i = static_cast<std::size_t>(left), j = static_cast<std::size_t>(right);
  const double c = joint;
  return {alpha_ * (count_[i] * size_[j] + count_[j] * size_[i] - c * (size_[i] + size_[j])), joint, right};
}

void CheapestPairs::look_through(std::int32_t group) {
  Row& own = row(group);
  const std::span<const std::int32_t> joint = counts_.joint_row(group);
  const std::vector<std::int32_t>& groups = counts_.groups();
  const auto before = [](const auto& a, const auto& b) { return a.first < b.first; };
  seen_.clear();  // a heap of one more than are kept
  for (auto other = std::upper_bound(groups.begin(), groups.end(), group); other != groups.end(); ++other) {
    const std::int32_t c = joint[static_cast<std::size_t>(*other - group - 1)];
    if (together_ && c == 0) continue;
    const Pair one = pair(group, *other, c);
    if (seen_.size() <= own.kept) {
      seen_.emplace_back(priced(group, one), one);
      std::push_heap(seen_.begin(), seen_.end(), before);
    } else if (cost(one) < seen_.front().first.cost) {  // of equal ones the first stays
      std::pop_heap(seen_.begin(), seen_.end(), before);
      seen_.back() = {priced(group, one), one};
      std::push_heap(seen_.begin(), seen_.end(), before);
    }
  }
  own.others = {};
  if (seen_.size() > own.kept) {
    std::pop_heap(seen_.begin(), seen_.end(), before);
    own.others = seen_.back().first;
    seen_.pop_back();
  }
  own.cheapest.clear();
  own.floor = std::numeric_limits<double>::infinity();
  for (const auto& [price, one] : seen_) {
    own.cheapest.push_back(one);
    own.floor = std::min(own.floor, price.cost);
  }
  own.looked_through = static_cast<std::int64_t>(groups.size());
}

void CheapestPairs::offer(std::int32_t left, std::int32_t right) {
  const std::int32_t joint = counts_.joint(left, right);
  if (together_ && joint == 0) return;
  Row& own = row(left);
  const Pair one = pair(left, right, joint);
  const PricedPair price = priced(left, one);
  if (own.others < price) return;
  own.cheapest.push_back(one);
  own.floor = std::min(own.floor, price.cost);
  if (own.cheapest.size() <= own.kept) return;
  const auto last =
      std::max_element(own.cheapest.begin(), own.cheapest.end(),
                       [&](const Pair& a, const Pair& b) { return priced(left, a) < priced(left, b); });
  own.others = std::min(own.others, priced(left, *last));
  own.cheapest.erase(last);
}

void CheapestPairs::merged(std::int32_t left, std::int32_t right) {
  bits_ = std::log2(static_cast<double>(counts_.groups().size() - 1));
  read_group(left);
  rows_[static_cast<std::size_t>(right)] = {};
  for (const std::int32_t group : counts_.groups()) {
    if (group >= right) break;
    std::erase_if(row(group).cheapest,
                  [&](const Pair& one) { return one.right == left || one.right == right; });
    if (group < left) offer(group, left);
  }
  look_through(left);
}

/// Puts the `number` cheapest of all pairs that rows keep into found_.
void CheapestPairs::collect(std::size_t number) {
  found_.clear();
  for (const std::int32_t group : counts_.groups()) {
    Row& own = row(group);
    if (found_.size() == number && own.floor > found_.front().cost) continue;
    own.floor = std::numeric_limits<double>::infinity();
    for (const Pair& one : own.cheapest) {
      const PricedPair price = priced(group, one);
      own.floor = std::min(own.floor, price.cost);
      if (found_.size() == number) {
        if (found_.front() < price) continue;
        std::pop_heap(found_.begin(), found_.end());
        found_.pop_back();
      }
      found_.push_back(price);
      std::push_heap(found_.begin(), found_.end());
    }
  }
}

/// Whether no other pair comes before the last of found_; rows that may have one are looked through.
bool CheapestPairs::complete(std::size_t number) {
  const PricedPair last = found_.size() == number ? found_.front() : PricedPair{};
  bool complete = true;
  for (const std::int32_t group : counts_.groups()) {
    Row& own = row(group);
    if (!(own.others < last)) continue;
    // What it kept is all among those asked for, so there may be more of them.
    if (own.looked_through == static_cast<std::int64_t>(counts_.groups().size())) own.kept *= 2;
    look_through(group);
    complete = false;
  }
  return complete;
}

PricedPair CheapestPairs::at_rank(std::int64_t rank) {
  const auto number = static_cast<std::size_t>(rank) + 1;
  do collect(number);
  while (!complete(number));
  return found_.front();
}

}  // namespace vpd
