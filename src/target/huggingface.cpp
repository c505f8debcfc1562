#include "vpd/target/huggingface.hpp"

#include <algorithm>
#include <set>

#include <ATen/ATen.h>

#include "stored_matrix.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/path_meaning.hpp"
#include "vpd/base/text.hpp"
#include "vpd/io/safetensors_directory.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/gpt2.hpp"
#include "vpd/target/llama.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

/// A tensor as files have it, and what becomes of it.
struct StoredTensor {
  std::string name;  ///< without the prefix that the base model has in a larger one
  std::vector<std::int64_t> shape;
  std::vector<std::string> parts;  ///< names of ours that it holds side by side in its last dimension
  bool transposed = false;
};

bool ends_with_any(const std::string& name, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](const char* ending) { return name.ends_with(ending); });
}

/// GPT-2's Conv1D layers hold [d_in, d_out], and one of them q, k and v.
std::vector<StoredTensor> stored_tensors(const Gpt2Config& config) {
  std::vector<StoredTensor> stored;
  for (const TensorSpec& spec : gpt2_weights(config)) {
    const bool matrix = spec.shape.size() == 2 && spec.name.starts_with("h.");
    std::vector<std::int64_t> shape = spec.shape;
    if (matrix) std::reverse(shape.begin(), shape.end());
    if (ends_with_any(spec.name, {"q_proj.weight", "q_proj.bias"})) {
      shape.back() *= 3;
      stored.push_back({.name = spec.name, .shape = shape, .parts = {}, .transposed = matrix});
      stored.back().name.replace(spec.name.rfind("q_proj"), 6, "c_attn");
      for (const char* part : {"q_proj", "k_proj", "v_proj"}) {
        std::string name = spec.name;
        stored.back().parts.push_back(name.replace(name.rfind("q_proj"), 6, part));
      }
    } else if (!ends_with_any(spec.name, {"k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias"})) {
      stored.push_back({spec.name, shape, {spec.name}, matrix});
    }
  }
  return stored;
}

std::vector<StoredTensor> stored_tensors(const LlamaConfig& config) {
  std::vector<StoredTensor> stored;
  for (const TensorSpec& spec : llama_weights(config))
    stored.push_back({spec.name, spec.shape, {spec.name}, false});
  return stored;
}

const char* prefix_of(const Gpt2Config&) { return "transformer."; }
const char* prefix_of(const LlamaConfig&) { return "model."; }

/// Masks and tables that older versions of the package stored, which follow from the configuration.
bool is_buffer(const std::string& name) {
  return ends_with_any(name, {".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"});
}

bool is_tied(const HuggingFaceConfig& config) {
  return std::visit([](const auto& family) { return family.tie_word_embeddings; }, config);
}

std::vector<StoredTensor> stored_tensors_of(const HuggingFaceConfig& config) {
  return std::visit([](const auto& family) { return stored_tensors(family); }, config);
}

fs::path find_config(const fs::path& directory) {
  std::error_code error;
  VPD_CHECK(fs::is_directory(directory, error), DataError,
            "{}: expected a directory with config.json beside model.safetensors, found {}",
            directory.string(),
            obstacle(directory).value_or(fs::exists(directory, error) ? "a file" : "nothing of that name"));
  const auto closed = obstacle(directory / "config.json");
  VPD_CHECK(!closed, DataError, "{}: expected config.json in it, found {}", directory.string(), *closed);
  VPD_CHECK(is_huggingface(directory), DataError,
            "{}: expected config.json beside model.safetensors, found {}{}", directory.string(),
            obstacle(directory / "config.json").value_or("none"),
            model_config_in(directory) ? "; with a model_config the target's type is llama_simple_mlp" : "");
  return directory / "config.json";
}

class Reader {
 public:
  Reader(const fs::path& directory, std::vector<std::string>& warnings)
      : config_(read_huggingface_config(find_config(directory), warnings)),
        files_(directory),
        stored_(stored_tensors_of(config_)) {
    find_prefix();
    find_head(warnings);
    std::set<std::string> known;
    for (const StoredTensor& tensor : stored_) {
      const std::string name = in_file(tensor.name);
      check_header(files_.file_of(name), name, tensor.shape);
      known.insert(name);
    }
    if (is_tied(config_) && files_.has(head)) known.insert(head);
    std::vector<std::string> others;
    for (const SafetensorsFile& file : files_.files()) {
      for (const TensorInfo& tensor : file.tensors()) {
        if (!known.contains(tensor.name) && !is_buffer(tensor.name)) others.push_back(tensor.name);
      }
    }
    if (others.empty()) return;
    warnings.push_back(fmt::format("{}: {} that {} not part of a {} passed over: {}", directory.string(),
                                   others.size() == 1 ? "a tensor" : fmt::format("{} tensors", others.size()),
                                   others.size() == 1 ? "is" : "are", family_of(config_),
                                   join_words(others)));
  }

  const HuggingFaceConfig& config() const { return config_; }
  std::vector<fs::path> paths() const { return files_.paths(); }

  StoredMatrix find(const std::string& ours) const {
    for (const StoredTensor& tensor : stored_) {
      const auto part = std::find(tensor.parts.begin(), tensor.parts.end(), ours);
      if (part == tensor.parts.end()) continue;
      const std::string name = in_file(tensor.name);
      const bool is_embedding = &tensor == &stored_.front();
      return {.file = files_.file_of(name).path(),
              .tensor = name,
              .part = part - tensor.parts.begin(),
              .parts = static_cast<std::int64_t>(tensor.parts.size()),
              .transposed = tensor.transposed,
              .shared = is_embedding && is_tied(config_)};
    }
    VPD_CHECK(ours == head && is_tied(config_), DataError, "expected a weight of a {}, found '{}'",
              family_of(config_), ours);
    StoredMatrix tied = find(stored_.front().parts.front());
    tied.shared = true;
    return tied;
  }

  NamedTensors weights() const {
    NamedTensors weights;
    for (const StoredTensor& tensor : stored_) {
      at::Tensor values = load(tensor.name, tensor.shape);
      const auto parts = values.chunk(static_cast<std::int64_t>(tensor.parts.size()), -1);
      for (std::size_t i = 0; i < parts.size(); ++i) {
        const at::Tensor part = tensor.transposed ? parts[i].t() : parts[i];
        weights.emplace_back(tensor.parts[i], part.contiguous());
      }
    }
    return weights;
  }

 private:
  static constexpr const char* head = "lm_head.weight";

  /// The base model's own checkpoints have no prefix; the head never has one.
  void find_prefix() {
    const std::string prefix = std::visit([](const auto& family) { return prefix_of(family); }, config_);
    std::size_t without = 0, with = 0;
    for (const StoredTensor& tensor : stored_) {
      if (tensor.name == head) continue;
      without += files_.has(tensor.name) ? 1 : 0;
      with += files_.has(prefix + tensor.name) ? 1 : 0;
    }
    if (without <= with) prefix_ = prefix;
  }

  /// Of a tied model either of the two names may be there: safetensors' save_model() keeps one of what two
  /// modules share. With both and different values, the model is not tied, whatever config.json says: so
  /// `transformers` has it, with a warning.
  void find_head(std::vector<std::string>& warnings) {
    if (!is_tied(config_) || !files_.has(head)) return;
    const StoredTensor& embedding = stored_.front();
    const std::string name = in_file(embedding.name);
    if (!files_.has(name)) {
      embedding_is_head_ = true;
      return;
    }
    for (const std::string& either : {name, std::string(head)})
      check_header(files_.file_of(either), either, embedding.shape);
    const auto values = [&](const std::string& either) {
      return files_.file_of(either).load(either).to(at::kFloat);
    };
    if (at::equal(values(name), values(head))) return;
    std::visit([](auto& family) { family.tie_word_embeddings = false; }, config_);
    stored_ = stored_tensors_of(config_);
    warnings.push_back(fmt::format(
        "{}: {} and {} differ although tie_word_embeddings in config.json ties them: the head is a matrix of "
        "its own, as in transformers; set tie_word_embeddings to false",
        files_.file_of(head).path().string(), head, name));
  }

  std::string in_file(const std::string& name) const {
    const bool is_head = name == head || (embedding_is_head_ && name == stored_.front().name);
    return is_head ? head : prefix_ + name;
  }

  at::Tensor load(const std::string& name, const std::vector<std::int64_t>& shape) const {
    return load_checked(files_.file_of(in_file(name)), in_file(name), shape);
  }

  HuggingFaceConfig config_;
  SafetensorsDirectory files_;
  std::vector<StoredTensor> stored_;
  std::string prefix_;
  bool embedding_is_head_ = false;
};

}  // namespace

StoredMatrix stored_in_huggingface(const fs::path& directory, const std::string& name) {
  std::vector<std::string> ignored;
  return Reader(directory, ignored).find(name);
}

bool is_huggingface(const fs::path& directory) {
  std::error_code error;
  return fs::exists(directory / "config.json", error);
}

HuggingFaceCheckpoint read_huggingface(const fs::path& directory, std::vector<std::string>& warnings) {
  const Reader reader(directory, warnings);
  return {reader.config(), reader.weights(), reader.paths()};
}

HuggingFaceConfig describe_huggingface(const fs::path& directory, std::vector<std::string>& warnings) {
  return Reader(directory, warnings).config();
}

HuggingFaceConfig describe_without_weights(const fs::path& directory, std::vector<std::string>& warnings) {
  return read_huggingface_config(find_config(directory), warnings);
}

Architecture architecture_of(const HuggingFaceConfig& config) {
  const auto* gpt2 = std::get_if<Gpt2Config>(&config);
  return gpt2 ? gpt2_architecture(*gpt2) : llama_architecture(std::get<LlamaConfig>(config));
}

std::unique_ptr<Target> make_target(const HuggingFaceCheckpoint& checkpoint, const Numerics& numerics) {
  if (const auto* gpt2 = std::get_if<Gpt2Config>(&checkpoint.config))
    return std::make_unique<Gpt2>(*gpt2, checkpoint.weights, numerics);
  return std::make_unique<Llama>(std::get<LlamaConfig>(checkpoint.config), checkpoint.weights, numerics);
}

}  // namespace vpd
