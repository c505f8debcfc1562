#include <spdlog/fmt/fmt.h>

#include "pickle.hpp"
#include "vpd/base/foreign_text.hpp"

namespace vpd {
namespace {

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

std::string plural(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

std::string describe(const PickleValue& value) {
  return std::visit(
      Overloaded{
          [](std::monostate) -> std::string { return "None"; },
          [](bool x) -> std::string { return x ? "True" : "False"; },
          [](std::int64_t x) { return fmt::format("the number {}", x); },
          [](double x) { return fmt::format("the number {}", x); },
          [](const std::string* x) { return fmt::format("the text {}", quote_foreign(*x)); },
          [](PickleList* x) { return fmt::format("a list of {}", plural(x->items.size(), "value")); },
          [](const PickleTuple* x) { return fmt::format("a tuple of {}", plural(x->items.size(), "value")); },
          [](PickleDictionary* x) {
            return fmt::format("a dictionary of {}", plural(x->items.size(), "value"));
          },
          [](const PickleName* x) { return fmt::format("the name {}", x->text); },
          [](const PickleObject*) -> std::string { return "a tensor or a storage"; },
          [](PicklePlaceholder* x) { return std::string(x->what); },
      },
      value);
}

}  // namespace vpd
