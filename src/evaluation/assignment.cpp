// The linear assignment problem by shortest augmenting paths (R. Jonker and A. Volgenant, "A shortest
// augmenting path algorithm for dense and sparse linear assignment problems", 1987). Rows are added one at a
// time. Prices of rows and columns keep every reduced cost cost(r, c) - row_price(r) - column_price(c) at or
// above 0, and at 0 for assigned pairs, so that a cheapest way from the new row to a free column, over
// assigned pairs backwards, is found as Dijkstra finds shortest paths.

#include "assignment.hpp"

#include <limits>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"

namespace vpd {
namespace {

constexpr std::int64_t nobody = -1;

class Assignment {
 public:
  explicit Assignment(const at::Tensor& value)
      : costs_(value.neg()),
        cost_(costs_.const_data_ptr<double>()),
        rows_(value.size(0)),
        columns_(value.size(1)),
        row_price_(static_cast<std::size_t>(rows_)),
        column_price_(static_cast<std::size_t>(columns_)),
        row_of_(static_cast<std::size_t>(columns_), nobody),
        column_of_(static_cast<std::size_t>(rows_), nobody) {
    for (std::int64_t row = 0; row < rows_; ++row) add(row);
  }

  const std::vector<std::int64_t>& column_of() const { return column_of_; }

 private:
  void add(std::int64_t new_row) {
    constexpr double far = std::numeric_limits<double>::infinity();
    const auto columns = static_cast<std::size_t>(columns_);
    std::vector<double> distance(columns, far);         // from the new row to each column
    std::vector<std::int64_t> before(columns, nobody);  // the row from which a column is reached
    std::vector<bool> settled(columns, false);
    std::vector<std::size_t> order;
    std::int64_t row = new_row;
    double travelled = 0.0;
    std::size_t free_column = columns;
    while (free_column == columns) {
      std::size_t nearest = columns;
      for (std::size_t c = 0; c < columns; ++c) {
        if (settled[c]) continue;
        const double through = travelled + reduced(row, c);
        if (through < distance[c]) distance[c] = through, before[c] = row;
        if (nearest == columns || distance[c] < distance[nearest]) nearest = c;
      }
      travelled = distance[nearest];
      settled[nearest] = true;
      order.push_back(nearest);
      if (row_of_[nearest] == nobody) {
        free_column = nearest;
      } else {
        row = row_of_[nearest];
      }
    }
    // Every settled column, and the row that holds it, moves by how much nearer than the free one it was.
    row_price_[static_cast<std::size_t>(new_row)] += travelled;
    for (const std::size_t c : order) {
      if (c == free_column) continue;
      column_price_[c] -= travelled - distance[c];
      row_price_[static_cast<std::size_t>(row_of_[c])] += travelled - distance[c];
    }
    for (std::size_t c = free_column;;) {
      const auto r = static_cast<std::size_t>(before[c]);
      const std::int64_t given_up = column_of_[r];
      row_of_[c] = before[c];
      column_of_[r] = static_cast<std::int64_t>(c);
      if (before[c] == new_row) break;
      c = static_cast<std::size_t>(given_up);
    }
  }

  double reduced(std::int64_t row, std::size_t column) const {
    return cost_[row * columns_ + static_cast<std::int64_t>(column)] -
           row_price_[static_cast<std::size_t>(row)] - column_price_[column];
  }

  at::Tensor costs_;
  const double* cost_;
  std::int64_t rows_, columns_;
  std::vector<double> row_price_, column_price_;
  std::vector<std::int64_t> row_of_, column_of_;
};

}  // namespace

std::vector<std::int64_t> best_assignment(const at::Tensor& value) {
  VPD_CHECK(value.dim() == 2 && value.size(0) <= value.size(1), UsageError,
            "assignment: expected a matrix with no more rows than columns, found {} dimensions{}",
            value.dim(),
            value.dim() == 2 ? fmt::format(", {} rows and {} columns", value.size(0), value.size(1)) : "");
  const at::Tensor numbers = value.detach().to(at::kCPU, at::kDouble).contiguous();
  VPD_CHECK(at::isfinite(numbers).all().item<bool>(), UsageError,
            "assignment: expected finite values, found others");
  return Assignment(numbers).column_of();
}

}  // namespace vpd
