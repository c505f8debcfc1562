#include "names.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <initializer_list>
#include <iterator>
#include <set>
#include <string_view>
#include <tuple>

#include <spdlog/fmt/fmt.h>

namespace vpd {
namespace {

bool replace_prefix(std::string& name, std::string_view prefix, std::string_view by) {
  if (!name.starts_with(prefix)) return false;
  name.replace(0, prefix.size(), by);
  return true;
}

void replace_all(std::string& name, std::string_view part, std::string_view by) {
  for (std::size_t at = name.find(part); at != std::string::npos; at = name.find(part, at + by.size())) {
    name.replace(at, part.size(), by);
  }
}

std::vector<std::string> parts_of(const std::string& name) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t dot = std::min(name.find('.', begin), name.size());
    parts.push_back(name.substr(begin, dot - begin));
    begin = dot + 1;
  }
  return parts;
}

// Keys under which training scripts save a model, the likeliest first.
constexpr std::array usual = {"model",   "model_state_dict", "state_dict", "model_state", "net",
                              "network", "checkpoint",       "state",      "weights",     "params"};

std::size_t rank(const std::string& part) {
  return static_cast<std::size_t>(std::find(usual.begin(), usual.end(), part) - usual.begin());
}

// Smaller for the likelier place: of usual keys alone, of few, of likely ones.
std::tuple<bool, std::size_t, std::size_t> unlikeliness(const std::string& prefix) {
  if (prefix.empty()) return {false, 0, 0};
  const std::vector<std::string> parts = parts_of(prefix.substr(0, prefix.size() - 1));
  std::size_t worst = 0;
  for (const std::string& part : parts) worst = std::max(worst, rank(part));
  return {worst == usual.size(), parts.size(), worst};
}

// What a run's names begin with. A target's are its matrices' own.
constexpr std::array run_parts = {"_components", "ci_fn",         "_ci_fns",
                                  "_gates",      "patched_model", "target_model"};
constexpr std::array target_parts = {"wte", "h", "ln_f", "lm_head"};

template <class Words>
bool is_among(const std::string& part, const Words& words) {
  return std::find(words.begin(), words.end(), part) != words.end();
}

bool begins_with_one_of(const std::string& name, std::initializer_list<const char*> words) {
  std::string first = parts_of(name).front();
  std::transform(first.begin(), first.end(), first.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::any_of(words.begin(), words.end(),
                     [&](const char* word) { return first.find(word) != std::string::npos; });
}

bool is_training_state(const std::string& name) {
  return begins_with_one_of(name, {"optim", "sched", "scaler", "rng", "trainer", "callback", "loop"});
}

bool is_average(const std::string& name) { return begins_with_one_of(name, {"ema"}); }

}  // namespace

std::string newest_name(std::string name) {
  replace_all(name, "_gates.", "_ci_fns.");
  replace_prefix(name, "patched_model.", "target_model.");
  replace_all(name, ".original.", ".");
  for (const std::string_view ending : {".components.U", ".components.V"}) {
    if (!name.ends_with(ending)) continue;
    std::string site = name.substr(0, name.size() - ending.size());
    replace_prefix(site, "target_model.", "");
    std::replace(site.begin(), site.end(), '.', '-');
    name = fmt::format("_components.{}.{}", site, ending.back());
  }
  replace_prefix(name, "_ci_fns.", "ci_fn._ci_fns.");
  return name;
}

std::string unwrapped_name(std::string name) {
  constexpr std::array wrappers = {"module", "_orig_mod", "_fsdp_wrapped_module",
                                   "_checkpoint_wrapped_module", "transformer"};
  std::string unwrapped;
  for (const std::string& part : parts_of(name)) {
    if (is_among(part, wrappers)) continue;
    unwrapped += (unwrapped.empty() ? "" : ".") + part;
  }
  return unwrapped.empty() ? name : unwrapped;
}

ModelPlace find_model(const std::vector<std::string>& names) {
  std::set<std::string> runs, targets;
  for (const std::string& name : names) {
    std::string prefix;
    for (const std::string& part : parts_of(name)) {
      if (is_among(part, run_parts)) {
        runs.insert(prefix);
        break;
      }
      prefix += part + ".";
    }
    for (const std::string_view ending : {"wte.weight", "lm_head.weight"}) {
      if (!name.ends_with(ending)) continue;
      const std::string before = name.substr(0, name.size() - ending.size());
      if (before.empty() || before.back() == '.') targets.insert(before);
    }
  }
  std::set<std::string>& places = runs.empty() ? targets : runs;
  // An optimizer's averages have the weights' names too; a model's own average may be all that there is.
  for (const auto& unlikely : {is_training_state, is_average}) {
    if (!std::all_of(places.begin(), places.end(), unlikely)) std::erase_if(places, unlikely);
  }
  std::vector<std::string> sorted(places.begin(), places.end());
  std::sort(sorted.begin(), sorted.end(), [](const std::string& a, const std::string& b) {
    return std::pair(unlikeliness(a), a) < std::pair(unlikeliness(b), b);
  });
  ModelPlace place;
  if (sorted.empty()) return place;
  place.prefix = sorted.front();
  place.others.assign(std::next(sorted.begin()), sorted.end());
  place.certain = sorted.size() == 1 || !std::get<0>(unlikeliness(place.prefix));
  return place;
}

bool is_in_model(const std::string& name) {
  const std::string first = parts_of(name).front();
  return is_among(first, run_parts) || is_among(first, target_parts);
}

bool is_beside_model(const std::string& name) { return is_training_state(name) || is_average(name); }

}  // namespace vpd
