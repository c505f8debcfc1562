#include "table_builder.hpp"

namespace vpd {

void ExampleTable::add(const HarvestColumn& column) {
  for (std::size_t kind = 0; kind < example_kinds; ++kind) {
    for (const KeptExample& example : column.examples[kind].kept()) {
      row_.push_back(example.row);
      centre_.push_back(example.centre);
      kind_.push_back(static_cast<std::uint8_t>(kind));
      key_.push_back(key_of(static_cast<ExampleKind>(kind), example.rank));
      token_.insert(token_.end(), example.tokens.begin(), example.tokens.end());
      importance_.insert(importance_.end(), example.importance.begin(), example.importance.end());
      activation_.insert(activation_.end(), example.activation.begin(), example.activation.end());
    }
  }
  offsets_.push_back(static_cast<std::int64_t>(row_.size()));
}

void ExampleTable::put(NamedTensors& tensors, const std::string& prefix, std::int64_t width,
                       at::ScalarType numbers) const {
  const auto number = [&](const std::vector<float>& values) {
    const at::Tensor wide = tensor_of(values).view({-1, width});
    return numbers == at::kHalf ? wide.clamp(-65504.0, 65504.0).to(at::kHalf) : wide.to(numbers);
  };
  tensors.emplace_back(prefix + "offsets", tensor_of(offsets_));
  tensors.emplace_back(prefix + "row", tensor_of(row_));
  tensors.emplace_back(prefix + "centre", tensor_of(centre_));
  tensors.emplace_back(prefix + "kind", tensor_of(kind_));
  tensors.emplace_back(prefix + "key", tensor_of(key_));
  tensors.emplace_back(prefix + "token", tensor_of(token_).view({-1, width}));
  tensors.emplace_back(prefix + "importance", number(importance_));
  tensors.emplace_back(prefix + "activation", number(activation_));
}

void ExampleTable::take(const SafetensorsFile& file, const std::string& prefix, std::size_t columns,
                        std::int64_t width) {
  const auto column = [&](const char* name, auto& to) {
    using Value = typename std::decay_t<decltype(to)>::value_type;
    at::Tensor tensor = file.load(prefix + name);
    if (tensor.scalar_type() == at::kHalf) tensor = tensor.to(at::kFloat);
    to = vector_of<Value>(tensor, file.path().string() + ": " + prefix + name);
  };
  column("offsets", offsets_);
  column("row", row_);
  column("centre", centre_);
  column("kind", kind_);
  column("key", key_);
  column("token", token_);
  column("importance", importance_);
  column("activation", activation_);
  const std::size_t entries = row_.size() * static_cast<std::size_t>(width);
  VPD_CHECK(offsets_.size() == columns + 1 && static_cast<std::size_t>(offsets_.back()) == row_.size() &&
                token_.size() == entries && importance_.size() == entries && activation_.size() == entries,
            DataError,
            "{}: expected examples of {} subcomponents and {} positions, found others; harvest again",
            file.path().string(), columns, width);
}

KeptExample ExampleTable::example(std::size_t e) const {
  const std::size_t width = token_.size() / std::max<std::size_t>(row_.size(), 1);
  const auto part = [&](const auto& values) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(e * width);
    return std::decay_t<decltype(values)>(begin, begin + static_cast<std::ptrdiff_t>(width));
  };
  return {.rank = rank_of(kind_at(e), key_[e]),
          .row = row_[e],
          .centre = centre_[e],
          .tokens = part(token_),
          .importance = part(importance_),
          .activation = part(activation_)};
}

}  // namespace vpd
