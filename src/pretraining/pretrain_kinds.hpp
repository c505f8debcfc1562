#pragma once

// One function for each kind of target that can be trained.

#include "vpd/pretraining/pretrain_task.hpp"

namespace vpd {

std::unique_ptr<PretrainTask> pretrain_task(const LlamaSimpleMlpConfig& model);
std::unique_ptr<PretrainTask> pretrain_task(const TmsConfig& model);
std::unique_ptr<PretrainTask> pretrain_task(const ResidualMlpConfig& model);
std::unique_ptr<PretrainTask> pretrain_task(const InductionConfig& model);

}  // namespace vpd
