#include "notices.hpp"

#include "patience.hpp"
#include "vpd/base/error.hpp"

namespace vpd {
namespace {

using Milliseconds = std::chrono::milliseconds;

/// How long to wait for an answer: most come within a millisecond.
constexpr Milliseconds soon = std::chrono::seconds(1), at_last = std::chrono::seconds(5);
// Keys of the store.
constexpr const char *present_key = "present", *failure_key = "failure", *stop_key = "stop",
                     *ended_key = "ended";

int exit_code_of_interrupted() {
  static const int code = Interrupted("").exit_code();
  return code;
}

std::string here_key(int rank) { return fmt::format("here/{}", rank); }

}  // namespace

// Where the process that keeps the store is stopped, or its machine has gone, an answer never comes; and the
// store may be busy for seconds with names of addresses (PolledStore). So each question has a thread.
template <class Question>
auto Notices::ask(Milliseconds limit, Question question) {
  using Answer = std::invoke_result_t<Question, c10d::Store&>;
  const auto end = std::chrono::steady_clock::now() + limit;
  if (gone_ || (answered_ && !answered_(end))) return std::optional<Answer>();
  std::packaged_task<Answer()> task([store = store_, question] { return question(*store); });
  const std::shared_future<Answer> answer = task.get_future().share();
  answered_ = [answer](auto by) { return answer.wait_until(by) == std::future_status::ready; };
  std::thread(std::move(task)).detach();
  if (!answered_(end)) return std::optional<Answer>();
  try {
    return std::optional<Answer>(answer.get());
  } catch (const std::exception&) {
    gone_ = true;
    return std::optional<Answer>();
  }
}

void Notices::come(int rank) {
  ask(at_last, [rank](c10d::Store& store) {
    store.set(here_key(rank), "1");
    return store.add(present_key, 1);
  });
}

std::optional<std::int64_t> Notices::present() {
  return ask(soon, [](c10d::Store& store) { return store.add(present_key, 0); });
}

bool Notices::came(int rank) {
  return ask(soon, [rank](c10d::Store& store) { return store.check({here_key(rank)}); }).value_or(false);
}

void Notices::fail(const Failure& failure) {
  ask(at_last, [text = fmt::format("{}\n{}\n{}", failure.rank, failure.exit_code, failure.sentence)](
                   c10d::Store& store) { return store.compareSet(failure_key, std::string(), text); });
}

std::optional<Notices::Failure> Notices::failure(bool urgent) {
  const auto text = ask(urgent ? at_last : soon, [](c10d::Store& store) {
    return store.check({failure_key}) ? store.get_to_str(failure_key) : std::string();
  });
  if (!text || text->empty()) return std::nullopt;
  const auto first = text->find('\n'), second = text->find('\n', first + 1);
  return Failure{.rank = std::stoi(text->substr(0, first)),
                 .exit_code = std::stoi(text->substr(first + 1, second - first - 1)),
                 .sentence = text->substr(second + 1)};
}

bool Notices::ask_to_stop() {
  return ask(soon,
             [](c10d::Store& store) {
               store.set(stop_key, "1");
               return true;
             })
      .value_or(false);
}

bool Notices::asked_to_stop() {
  return ask(soon, [](c10d::Store& store) { return store.check({stop_key}); }).value_or(false);
}

void Notices::leave(bool keeps_store, Milliseconds farewell) {
  const auto ended = [this](std::int64_t more) {
    return ask(at_last, [more](c10d::Store& store) { return store.add(ended_key, more); });
  };
  std::optional<std::int64_t> gone = ended(1);
  const std::int64_t all = present().value_or(0);
  const Patience patience(farewell, [] {});
  while (keeps_store && gone && *gone < all && !patience.over()) {
    patience.sleep(Milliseconds(20));
    gone = ended(0);
  }
}

void follow(const Notices::Failure& failure) {
  if (failure.exit_code == exit_code_of_interrupted()) {
    throw Interrupted(
        fmt::format("ended together with process {}, which said: {}", failure.rank, failure.sentence));
  }
  throw ProcessError(fmt::format("process {} failed: {}", failure.rank, failure.sentence), failure.exit_code);
}

}  // namespace vpd
