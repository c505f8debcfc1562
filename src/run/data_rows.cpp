#include "data_rows.hpp"

#include "decomposition/inputs.hpp"

namespace vpd {

nlohmann::ordered_json hashes_of_rows(const OpenedRun& run, const std::string& split,
                                      const Observer& observer) {
  std::vector<InputRole> roles = input_roles(run.config);
  std::erase_if(roles, [&](const InputRole& role) { return role.name != "data." + split; });
  nlohmann::ordered_json hashes = nlohmann::ordered_json::array();
  for (const HashedRole& role : hash_inputs(roles, observer))
    for (const HashedFile& file : role.files)
      hashes.push_back({{"path", name_in_json(file.path)}, {"sha256", file.sha256}});
  return hashes;
}

}  // namespace vpd
