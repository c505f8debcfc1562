#pragma once

namespace vpd {

/// A sum in twice the precision of double (Knuth's two-sum): what it rounds to does not depend on the order
/// of its parts, for all that a file of doubles can show.
class WideSum {
 public:
  void add(double x) {
    const double sum = high_ + x, part = sum - high_;
    low_ += (high_ - (sum - part)) + (x - part);
    high_ = sum;
  }
  void merge(const WideSum& other) {
    add(other.high_);
    low_ += other.low_;
  }
  double value() const { return high_ + low_; }

  double high() const { return high_; }
  double low() const { return low_; }
  static WideSum of(double high, double low) {
    WideSum sum;
    sum.high_ = high;
    sum.low_ = low;
    return sum;
  }

 private:
  double high_ = 0.0, low_ = 0.0;
};

}  // namespace vpd
