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
"$work/build/consumer" "$VPD_TEST_DATA/plain/config.yaml" "$work/run" > "$work/output.txt"
cat "$work/output.txt"
for expected in "finished 4 steps" "l0/total: " "loss of step 3: " "h.0.mlp.c_fc: V \[24, 40\]"; do
  grep -q "$expected" "$work/output.txt" || { echo "expected '$expected' in the output"; exit 1; }
done

# The installed program finds its libraries without help.
"$work/installed/bin/vpd" --help > "$work/help.txt"
grep -q decompose "$work/help.txt"
