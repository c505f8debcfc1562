#pragma once

#include <string>
#include <vector>

namespace vpd {

/// The name of a tensor in the newest version of the original code for one in any: "_gates.",
/// "patched_model.",
/// ".components.V" and the like are what older ones say.
std::string newest_name(std::string name);

/// The same without what wrapping a module puts into the names of its parts: "module." (data parallelism),
/// "_orig_mod." (compilation) and others.
std::string unwrapped_name(std::string name);

/// Where in a checkpoint the tensors of a run or of a target lie: what their names begin with, such as
/// "model." or "checkpoint.model_state_dict.", and what else may be such a place. Names are unwrapped.
struct ModelPlace {
  std::string prefix;
  std::vector<std::string> others;  ///< other places where a model lies
  bool certain = true;  ///< whether it is the only one, or has the name that such a place usually has
};
ModelPlace find_model(const std::vector<std::string>& names);

/// Whether a name without the place's prefix is one of a target or a run, and whether it belongs to what is
/// saved beside them: an optimizer's state, say.
bool is_in_model(const std::string& name);
bool is_beside_model(const std::string& name);

}  // namespace vpd
