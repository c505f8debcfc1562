#!/bin/bash
# Installs vpd into an empty directory, then builds and runs a program that knows nothing but find_package(vpd).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$VPD_CMAKE" --install "$VPD_BINARY_DIR" --prefix "$work/installed" > "$work/install.log" || {
  cat "$work/install.log"
  exit 1
}
"$VPD_CMAKE" -G Ninja -S "$VPD_SOURCE_DIR/tests/consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/installed"
"$VPD_CMAKE" --build "$work/build"
output=$("$work/build/consumer")
echo "$output"
[[ "$output" == "vpd "[0-9]* ]]

# The installed program finds its libraries without help.
"$work/installed/bin/vpd" --help > "$work/help.txt"
grep -q decompose "$work/help.txt"
