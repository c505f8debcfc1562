#pragma once

#include <string>
#include <vector>

#include "vpd/interpretation/evidence.hpp"

namespace vpd {

/// The versions of the texts below: a prompt says which one it was made with.
inline constexpr const char* label_template = "label-1";
inline constexpr const char* detection_template = "detection-1";
inline constexpr const char* fuzzing_template = "fuzzing-1";
inline constexpr const char* intruder_template = "intruder-1";

/// What the question about one subcomponent is made of, in text already.
struct LabelMaterial {
  std::string place;  ///< "layer h.1, matrix mlp.c_fc"
  SubcomponentFacts facts;
  struct Token {
    std::string text;
    double recall = 0.0, precision = 0.0, pmi = 0.0;
  };
  std::vector<Token> output, output_pmi, input, input_pmi;
  std::vector<std::string> fires_on, followed_by;  ///< examples, with the firing tokens between « »
};

std::string label_prompt(const LabelMaterial& material);
std::string detection_prompt(const std::vector<std::string>& windows, const std::string& fires_at);
std::string fuzzing_prompt(const std::vector<std::string>& windows, const std::string& fires_at);
std::string intruder_prompt(const std::vector<std::string>& windows);

}  // namespace vpd
