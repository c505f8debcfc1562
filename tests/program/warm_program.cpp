// The program, loaded once and forked for every command. LibTorch takes a third of a second of a core to
// load, and the tests give some two thousand commands. This is linked from the program's own objects, and the
// linker renames main()
// (--wrap=main).
//
// Standard input is a socket of sequenced packets, and its end is the end of this. Each packet is one
// command: the directory to run it in and its arguments, each followed by a zero byte, and with them four
// descriptors: a socket that the exit status is written to, as waitpid() gives it, and the three standard
// streams. Everything else, the environment above all, is as it was when this was started.

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" int __real_main(int argc, char** argv);

namespace {

constexpr int most_seconds = 300;  // of a command: a signal ends it then
constexpr std::size_t most_bytes = 1 << 18;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::_Exit(1);
}

struct Command {
  std::vector<std::string> words;  ///< the directory, then the arguments
  std::array<int, 4> descriptors;  ///< of the status, then of the standard streams
};

/// False where no more commands come.
bool receive(Command& command) {
  static std::array<char, most_bytes> text;
  iovec place{text.data(), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof command.descriptors)];
  msghdr message{};
  message.msg_iov = &place, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  const ssize_t size = recvmsg(STDIN_FILENO, &message, 0);
  if (size < 0) fail("warm program: receiving a command");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (size == 0) return false;
  if (!header || header->cmsg_len != CMSG_LEN(sizeof command.descriptors) ||
      (message.msg_flags & MSG_TRUNC)) {
    std::fputs("warm program: expected a command with four descriptors\n", stderr);
    std::_Exit(1);
  }
  std::memcpy(command.descriptors.data(), CMSG_DATA(header), sizeof command.descriptors);
  command.words.clear();
  for (std::string_view rest(text.data(), static_cast<std::size_t>(size)); !rest.empty();) {
    const std::size_t end = std::min(rest.find('\0'), rest.size() - 1);
    command.words.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  return true;
}

[[noreturn]] void obey(Command& command) {
  for (int stream = 0; stream < 3; ++stream)
    if (dup2(command.descriptors[static_cast<std::size_t>(stream) + 1], stream) < 0)
      fail("warm program: dup2");
  for (const int descriptor : command.descriptors) close(descriptor);
  if (chdir(command.words.front().c_str()) != 0) fail("warm program: chdir");
  std::vector<char*> arguments;
  for (auto word = command.words.begin() + 1; word != command.words.end(); ++word)
    arguments.push_back(word->data());
  arguments.push_back(nullptr);
  alarm(most_seconds);
  std::exit(__real_main(static_cast<int>(arguments.size()) - 1, arguments.data()));
}

/// Sends the status of each command that has ended to who gave it.
void answer(std::map<pid_t, int>& asked) {
  int status = 0;
  for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0; asked.erase(ended)) {
    const int descriptor = asked.at(ended);
    if (write(descriptor, &status, sizeof status) != sizeof status) std::perror("warm program: answering");
    close(descriptor);
  }
}

}  // namespace

extern "C" int __wrap_main(int, char**) {
  // A fork has one thread: one that LibTorch had started would be missing from it.
  using Tasks = std::filesystem::directory_iterator;
  if (const auto threads = std::distance(Tasks("/proc/self/task"), Tasks()); threads != 1) {
    std::fprintf(stderr, "warm program: expected one thread after loading, found %td\n", threads);
    return 1;
  }
  sigset_t child_ends;
  sigemptyset(&child_ends), sigaddset(&child_ends, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child_ends, nullptr);
  std::array<pollfd, 2> events = {
      {{STDIN_FILENO, POLLIN, 0}, {signalfd(-1, &child_ends, SFD_CLOEXEC), POLLIN, 0}}};
  std::map<pid_t, int> asked;  // sockets that await a status
  for (Command command;;) {
    if (poll(events.data(), events.size(), -1) < 0) fail("warm program: poll");
    if (signalfd_siginfo told; events[1].revents != 0) {
      if (read(events[1].fd, &told, sizeof told) != sizeof told) fail("warm program: signalfd");
      answer(asked);
    }
    if (events[0].revents == 0) continue;
    if (!receive(command)) return 0;
    const pid_t child = fork();
    if (child < 0) fail("warm program: fork");
    if (child == 0) {
      for (const auto& [other, descriptor] : asked) close(descriptor);
      close(events[1].fd);
      sigprocmask(SIG_UNBLOCK, &child_ends, nullptr);
      obey(command);
    }
    asked[child] = command.descriptors.front();
    for (std::size_t i = 1; i < command.descriptors.size(); ++i) close(command.descriptors[i]);
  }
}
