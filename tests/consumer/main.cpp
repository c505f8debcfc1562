#include <cstdio>
#include <string>

#include "vpd/base/error.hpp"
#include "vpd/base/version.hpp"

int main() {
  std::printf("vpd %s\n", std::string(vpd::version()).c_str());
  return vpd::git_revision().empty() ? 1 : 0;
}
