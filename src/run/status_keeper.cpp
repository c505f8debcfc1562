#include "status_keeper.hpp"

#include <utility>

#include "vpd/base/error.hpp"
#include "vpd/run/failure.hpp"

namespace vpd {

StatusKeeper::StatusKeeper(std::filesystem::path run, std::int64_t step, std::int64_t steps, RunLog& log)
    : run_(std::move(run)), status_{.step = step, .steps = steps, .sentence = "training"}, log_(log) {
  write();
}

void StatusKeeper::saved(std::int64_t step) {
  status_.step = step;
  write();
}

void StatusKeeper::done(const std::string& sentence) {
  log_.say(sentence);
  status_.step = status_.steps;
  ended(RunState::done, 0, sentence);
}

void StatusKeeper::record(const std::function<void()>& work) {
  try {
    work();
  } catch (const Interrupted& error) {
    log_.note(error.what());
    ended(RunState::interrupted, error.exit_code(), error.what());
    throw;
  } catch (const std::exception& error) {
    const Failure failure = describe_failure(error);
    log_.note("error: " + failure.sentence);
    const bool diverged = dynamic_cast<const NumericalError*>(&error) != nullptr;
    ended(diverged ? RunState::diverged : RunState::failed, failure.exit_code, failure.sentence);
    throw;
  }
}

void StatusKeeper::ended(RunState state, int exit_code, const std::string& sentence) {
  status_.state = state;
  status_.exit_code = exit_code;
  status_.sentence = sentence;
  write();
}

void StatusKeeper::write() {
  try {
    write_status(run_, status_);
  } catch (const DataError& error) {
    log_.warn_once(fmt::format("how the run stands could not be written: {}", error.what()));
  }
}

}  // namespace vpd
