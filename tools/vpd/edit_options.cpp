#include "edit_options.hpp"

#include <algorithm>
#include <utility>

#include "command_line.hpp"
#include "vpd/base/error.hpp"

namespace vpd {

std::vector<EditSpec> EditArguments::specs() const {
  std::vector<EditSpec> specs;
  const bool typed =
      std::any_of(std::begin(texts), std::end(texts), [](const auto& list) { return !list.empty(); });
  for (const auto& [given, name] :
       {std::pair(!where.empty(), "--where"), std::pair(!positions.empty(), "--positions"),
        std::pair(head >= 0, "--head")})
    VPD_CHECK(typed || !given, UsageError,
              "{}: expected an edit such as --ablate that it is for; edits of --from have their own", name);
  if (!from.empty()) specs = read_edits(from);
  for (int kind = 0; kind < 6; ++kind) {
    for (const std::string& text : texts[kind]) {
      EditSpec spec = parse_edit(static_cast<EditSpec::Kind>(kind), text);
      if (!where.empty()) spec.where.importance = parse_where(where);
      if (!positions.empty()) spec.where.positions = parse_positions(positions);
      if (head >= 0) spec.head = head;
      specs.push_back(std::move(spec));
    }
  }
  return specs;
}

void add_edit_options(CLI::App& command, EditArguments& arguments) {
  static constexpr const char* meanings[] = {
      "Take a subcomponent out, as in h.1.mlp.down_proj:39 (repeatable, as all of these)",
      "SITE:C=FACTOR: make it so many times as large",
      "SITE:C=NUMBER: hold its activation there",
      "SITE:C=unembed:TOKEN*STRENGTH, or =SITE:C*STRENGTH: write that direction",
      "SITE:C=SITE:C: read the other one's direction",
      "SITE:C=SITE:C: let the two write each other's vectors"};
  for (int kind = 0; kind < 6; ++kind) {
    command
        .add_option("--" + name_of(static_cast<EditSpec::Kind>(kind)), arguments.texts[kind], meanings[kind])
        ->allow_extra_args(false);
  }
  command
      .add_option("--from", arguments.from,
                  "edits.yaml: edits as an earlier `vpd edit` or a person wrote them")
      ->check(a_file());
  command.add_option("--where", arguments.where,
                     "importance>NUMBER: only where the subcomponent is important");
  command.add_option("--positions", arguments.positions, "FIRST:END: only at these positions of a row");
  command
      .add_option("--head", arguments.head,
                  "Only this head's part of what a query, key or value matrix writes")
      ->check(at_least_zero());
}

}  // namespace vpd
