#pragma once

// Edits of single subcomponents, as rank-one terms that are added to what a site gives.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include "vpd/decomposition/decomposition.hpp"
#include "vpd/interpretation/evidence.hpp"
#include "vpd/target/executor.hpp"

namespace vpd {

/// Where an edit acts: everywhere unless one of these says less.
struct EditWhere {
  std::optional<std::pair<std::int64_t, std::int64_t>> positions{};  ///< [first, second) of a row
  std::optional<double>
      importance{};  ///< where the subcomponent's importance in the target's own pass is above

  bool everywhere() const { return !positions && !importance; }
};

/// What is to be done to one subcomponent, as somebody says it.
struct EditSpec {
  enum class Kind {
    ablate,      ///< take it out: W - U_c V_cᵀ
    scale,       ///< `number` times as large
    activation,  ///< hold its activation ‖U_c‖ V_cᵀ x at `number`
    write,  ///< write `number` · σ_c ‖U_c‖ times a unit vector: `other` is unembed:TOKEN or a subcomponent
    read,  ///< read the direction of `other`, of the same site, at ‖V_c‖
    swap,  ///< it and `other` write each other's vectors, in the ratio of their inner activations
  };
  Kind kind = Kind::ablate;
  std::string key;  ///< "site:c"
  double number = 1.0;
  std::string other;
  std::optional<std::int64_t> head{};  ///< of attention: only that head's part of what is written
  EditWhere where{};
};

std::string name_of(EditSpec::Kind kind);
/// "K", "K=2", "K=site:c", "K=unembed: o*3" as the option of that kind takes it. Throws UsageError.
EditSpec parse_edit(EditSpec::Kind kind, const std::string& text);
/// "importance>0.1". Throws UsageError.
double parse_where(const std::string& text);
/// "3:9" or "3". Throws UsageError.
std::pair<std::int64_t, std::int64_t> parse_positions(const std::string& text);
/// edits.yaml: a list, or an object with `edits`, of {ablate: K}, {scale: K, factor: 2}, {activation: K,
/// value: 4}, {write: K, direction: ..., strength: 3}, {read: K, from: KEY}, {swap: K, with: KEY}, each with
/// `head`, and `where: {positions: [3, 9]}` or `where: {importance: 0.1}` besides. Throws DataError naming
/// the file.
std::vector<EditSpec> read_edits(const std::filesystem::path& path);
nlohmann::ordered_json to_json(const EditSpec& edit);

/// y += κ_n (x_n · read) write at a site; without `read` y += κ_n write.
struct RankOneEdit {
  std::size_t site = 0;
  std::int64_t column = 0;  ///< of the subcomponent whose mask it carries, and whose importance `where` means
  at::Tensor read;          ///< float64 [d_in], on the CPU, or undefined
  at::Tensor write;         ///< float64 [d_out]
  EditWhere where{};
};

/// What edits are made of besides the decomposition.
struct EditMaterial {
  const Evidence* evidence = nullptr;  ///< for signs and mean activations
  std::function<std::int64_t(const std::string&)> token_named{};
  std::int64_t heads = 0;      ///< of the target's attention; 0: not known
  std::int64_t key_heads = 0;  ///< of keys and values
};
/// Throws UsageError for an edit that cannot be made: an unknown subcomponent, a direction of another width,
/// a head that is not there; DataError where it needs a harvest and there is none.
std::vector<RankOneEdit> make_edits(const std::vector<EditSpec>& specs, const Decomposition& decomposition,
                                    const EditMaterial& material);

/// Takes subcomponents out everywhere.
std::vector<RankOneEdit> ablations_of(const std::vector<std::int64_t>& columns,
                                      const Decomposition& decomposition);

/// The columns that edits are about, each once, ascending.
std::vector<std::int64_t> edited_columns(const std::vector<RankOneEdit>& edits);

/// ΔW = Σ write readᵀ of a site, float64 [d_out, d_in]; undefined where no edit is there. Throws UsageError
/// for edits that act in some places only or that hold an activation: no weight does that.
at::Tensor weight_change(const Decomposition& decomposition, std::size_t site,
                         const std::vector<RankOneEdit>& edits);

/// κ [N] of each edit for rows of length T; `importance` [N, Σ C] where an edit asks for it.
std::vector<at::Tensor> edit_factors(const std::vector<RankOneEdit>& edits, std::int64_t N, std::int64_t T,
                                     const at::Tensor& importance, const at::TensorOptions& options);

/// Adds edits to what matrices give, and leaves the rest to another executor.
class EditedExecutor final : public ForwardingExecutor {
 public:
  EditedExecutor(const Decomposition& decomposition, const std::vector<RankOneEdit>& edits,
                 std::vector<at::Tensor> factors, Executor* inner = nullptr);

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override;
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override;

 private:
  struct Term {
    int site;
    at::Tensor read, write, factor;
  };
  const Sites& sites_;
  std::vector<Term> terms_;
};

}  // namespace vpd
