#pragma once

// Each subcommand is one file: it declares its arguments, calls one function of the library, and prints.
// Errors leave as exceptions, which main() turns into a sentence and an exit code.

namespace CLI {
class App;
}

namespace vpd {

void add_decompose(CLI::App& app);
void add_evaluate(CLI::App& app);
void add_check(CLI::App& app);
void add_check_health(CLI::App& app);
void add_import(CLI::App& app);
void add_harvest(CLI::App& app);
void add_find(CLI::App& app);
void add_cluster(CLI::App& app);
void add_show(CLI::App& app);
void add_labels(CLI::App& app);
void add_intervene(CLI::App& app);
void add_edit(CLI::App& app);
void add_audit(CLI::App& app);
void add_unlearn(CLI::App& app);
void add_graph(CLI::App& app);
void add_explain(CLI::App& app);
void add_graph_diff(CLI::App& app);
void add_attention(CLI::App& app);
void add_attributions(CLI::App& app);
void add_interactions(CLI::App& app);
void add_report(CLI::App& app);
void add_sample(CLI::App& app);
void add_inspect(CLI::App& app);
void add_schema(CLI::App& app);
void add_pretrain(CLI::App& app);
void add_selftest(CLI::App& app);

}  // namespace vpd
