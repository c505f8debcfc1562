#include "unlearn_baselines.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include <ATen/ATen.h>
#include <torch/optim/adam.h>

#include "prompt_losses.hpp"
#include "vpd/base/philox.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd {
namespace {

class Projected final : public ForwardingExecutor {
 public:
  Projected(std::size_t block, at::Tensor direction, double strength)
      : block_(block), direction_(std::move(direction)), strength_(strength) {}

  at::Tensor residual(std::size_t block, const at::Tensor& x) override {
    const at::Tensor stream = inner().residual(block, x);
    if (block != block_) return stream;
    const at::Tensor d = direction_.to(stream.options());
    return stream - strength_ * stream.matmul(d).unsqueeze(1) * d;
  }

 private:
  std::size_t block_;
  at::Tensor direction_;
  double strength_;
};

class Updated final : public ForwardingExecutor {
 public:
  explicit Updated(const std::vector<LowRankUpdate>& updates) : updates_(updates) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    at::Tensor y = inner().linear(matrix, x);
    for (const LowRankUpdate& update : updates_) {
      if (update.matrix != matrix.index) continue;
      y = (y + x.to(update.A.scalar_type()).matmul(update.A.t()).matmul(update.B.t())).to(y.scalar_type());
    }
    return y;
  }

 private:
  const std::vector<LowRankUpdate>& updates_;
};

/// Keeps the residual stream of every block at the last position of each row.
class LastStreams final : public ForwardingExecutor {
 public:
  explicit LastStreams(std::int64_t T) : T_(T) {}
  at::Tensor residual(std::size_t block, const at::Tensor& x) override {
    at::Tensor stream = inner().residual(block, x);
    if (streams.size() <= block) streams.resize(block + 1);
    streams[block] = stream.view({-1, T_, stream.size(1)}).select(1, T_ - 1).to(at::kDouble).cpu();
    return stream;
  }
  std::vector<at::Tensor> streams;  // [B, d]

 private:
  std::int64_t T_;
};

std::vector<at::Tensor> mean_streams(const Decomposition& d, const std::vector<AuditPrompt>& prompts,
                                     Lanes& lanes) {
  const std::vector<PromptBatch> batches = batch_prompts(prompts, d.numerics.device);
  std::vector<std::vector<at::Tensor>> sums(batches.size());
  divide_work(batches.size(), lanes, [&](std::size_t i) {
    const at::NoGradGuard no_grad;
    LastStreams executor(batches[i].tokens.size(1));
    d.target->forward(batches[i].tokens, executor);
    for (const at::Tensor& stream : executor.streams)
      sums[i].push_back(stream.defined() ? stream.sum(0) : at::Tensor());
  });
  std::vector<at::Tensor> means = std::move(sums.front());
  for (std::size_t i = 1; i < sums.size(); ++i)
    for (std::size_t b = 0; b < means.size(); ++b)
      if (means[b].defined()) means[b] = means[b] + sums[i][b];
  for (at::Tensor& mean : means)
    if (mean.defined()) mean = mean / static_cast<double>(prompts.size());
  return means;
}

std::vector<LowRankUpdate> start_updates(const Decomposition& d, const std::vector<std::size_t>& matrices,
                                         const FitSettings& settings) {
  std::vector<LowRankUpdate> updates;
  constexpr std::uint64_t stream_of_fits = 4;
  for (const std::size_t number : matrices) {
    const Matrix& matrix = d.target->matrices()[number];
    at::Tensor A = at::empty({settings.rank, matrix.d_in()}, at::kDouble);
    auto* value = A.data_ptr<double>();
    const RandomKey key = make_key(settings.seed, RandomPurpose::control, stream_of_fits);
    for (std::int64_t i = 0; i < A.numel(); ++i) {
      std::uint32_t words[4];
      random_words(key, static_cast<std::uint32_t>(number), static_cast<std::uint64_t>(i), 0, words);
      value[i] = (static_cast<double>(words[0]) * 0x1p-31 - 1.0) *
                 std::sqrt(3.0 / static_cast<double>(matrix.d_in()));
    }
    const at::TensorOptions options = d.numerics.options();
    updates.push_back({number, A.to(options).requires_grad_(true),
                       at::zeros({matrix.d_out(), settings.rank}, options).requires_grad_(true)});
  }
  return updates;
}

/// Prompts of one length, and where passes over them begin: only sites' matrices are updated.
struct StartedBatch {
  PromptBatch prompts;
  PassStart start;
};

std::vector<StartedBatch> started(const Decomposition& d, const std::vector<AuditPrompt>& prompts) {
  std::vector<StartedBatch> batches;
  for (PromptBatch& batch : batch_prompts(prompts, d.numerics.device)) {
    PassStart start = clean_pass(d, batch.tokens).start;
    batches.push_back({std::move(batch), std::move(start)});
  }
  return batches;
}

/// What a fit makes small, with its gradient in the updates.
double fit_loss(const Decomposition& d, const Alteration& alteration,
                const std::vector<StartedBatch>& batches, const std::vector<AuditPrompt>& behaviour,
                const std::vector<StartedBatch>& others, const FitSettings& settings) {
  at::Tensor metric = at::zeros({}, d.numerics.options()), kl = metric;
  double targets = 0.0, positions = 0.0;
  for (const StartedBatch& batch : batches) {
    const auto [sum, count] = summed_metric(d, batch.prompts, behaviour, alteration, batch.start);
    if (count == 0) continue;
    metric = metric + sum;
    targets += static_cast<double>(count);
  }
  for (const StartedBatch& batch : others) {
    kl = kl + summed_kl(d, batch.prompts, alteration, batch.start);
    positions += static_cast<double>(batch.prompts.tokens.numel());
  }
  constexpr double weight_of_effect = 10.0;
  const at::Tensor missed =
      (metric / targets - settings.metric) / std::max(std::abs(settings.before - settings.metric), 1e-6);
  const at::Tensor loss = weight_of_effect * missed * missed + kl / (positions * settings.budget);
  loss.backward();
  return loss.item<double>();
}

}  // namespace

Alteration without_direction(std::size_t block, const at::Tensor& direction, double strength) {
  return [=](std::int64_t) { return std::make_unique<Projected>(block, direction, strength); };
}

std::vector<at::Tensor> mean_difference(const Decomposition& d, const std::vector<AuditPrompt>& behaviour,
                                        const std::vector<AuditPrompt>& against, Lanes& lanes) {
  const std::vector<at::Tensor> mine = mean_streams(d, behaviour, lanes),
                                theirs = mean_streams(d, against, lanes);
  std::vector<at::Tensor> directions;
  for (std::size_t b = 0; b < mine.size(); ++b) {
    directions.emplace_back();
    if (!mine[b].defined() || !theirs[b].defined()) continue;
    const at::Tensor difference = mine[b] - theirs[b];
    const double length = difference.norm().item<double>();
    if (length > 0.0) directions.back() = difference / length;
  }
  return directions;
}

Alteration with_updates(std::vector<LowRankUpdate> updates) {
  const auto held = std::make_shared<std::vector<LowRankUpdate>>(std::move(updates));
  struct Owning final : ForwardingExecutor {
    Owning(std::shared_ptr<std::vector<LowRankUpdate>> held_, std::unique_ptr<Updated> updated_)
        : ForwardingExecutor(updated_.get()), held(std::move(held_)), updated(std::move(updated_)) {}
    std::shared_ptr<std::vector<LowRankUpdate>> held;
    std::unique_ptr<Updated> updated;
  };
  return [held](std::int64_t) { return std::make_unique<Owning>(held, std::make_unique<Updated>(*held)); };
}

std::vector<LowRankUpdate> fit_updates(const Decomposition& d, const std::vector<std::size_t>& matrices,
                                       const std::vector<AuditPrompt>& behaviour,
                                       const std::vector<AuditPrompt>& against, const FitSettings& settings) {
  const std::vector<StartedBatch> batches = started(d, behaviour), others = started(d, against);
  std::vector<LowRankUpdate> best;
  double least = std::numeric_limits<double>::infinity();
  for (const double rate : {1e-3, 3e-3, 1e-2, 3e-2}) {
    const at::AutoGradMode record(true);
    std::vector<LowRankUpdate> updates = start_updates(d, matrices, settings);
    std::vector<at::Tensor> parameters;
    for (const LowRankUpdate& update : updates) {
      parameters.push_back(update.A);
      parameters.push_back(update.B);
    }
    torch::optim::Adam optimizer(parameters, torch::optim::AdamOptions(rate));
    const Alteration alteration = with_updates(updates);
    double loss = 0.0;
    for (std::int64_t step = 0; step <= settings.steps; ++step) {
      if (settings.each_step) settings.each_step();
      optimizer.zero_grad();
      loss = fit_loss(d, alteration, batches, behaviour, others, settings);
      if (step < settings.steps) optimizer.step();
    }
    if (!(loss < least)) continue;
    least = loss;
    best.clear();
    for (const LowRankUpdate& update : updates)
      best.push_back({update.matrix, update.A.detach().clone(), update.B.detach().clone()});
  }
  return best;
}

}  // namespace vpd
