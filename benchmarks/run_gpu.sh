#!/bin/bash
# Everything that a GPU is needed for, in one command: builds, runs the tests on the GPU, times the training steps, the baselines
# beside them and every kernel, and runs the kernels' tests under the memory checker.
#
#   benchmarks/run_gpu.sh [--out DIR] [--build DIR] [--no-build] [--baselines DIR] [--python PYTHON] [--only PART,PART] [--minutes N]
#   benchmarks/run_gpu.sh --bundle FILE.tar.gz [--build DIR] [--no-build] [--baselines DIR]
#
# Paths are relative to the repository's root. --out: where the JSON goes (benchmarks/results/<date>-<gpu>). --build: the build
# directory (build/release; for a bundle build/gpu); --no-build takes its programs as they are. --baselines: a directory with
# vpd_step.py and vpd_step_jax.py; without it they are left out. Parts, in their order: tests, steps, graph, baselines, kernels,
# checker. One that fails is reported at the end, with exit code 1, and does not keep the others from running. N minutes (9) after the
# build no further one starts and the last one is stopped: what was left out is reported as failed, and --only runs it.
#
# --bundle packs the programs for a machine that has a GPU and PyTorch and nothing else that they were built with: unpacked there,
# vpd-gpu/benchmarks/run_gpu.sh is this script, and takes them.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
. benchmarks/gpu_bundle.sh

out="" build="" do_build=1 baselines="" python="" only="tests,steps,graph,baselines,kernels,checker" minutes=9 bundle=""
while (($#)); do
  case $1 in
    --no-build) do_build=0; shift; continue ;;
    --out | --build | --baselines | --python | --only | --minutes | --bundle)
      (($# >= 2)) || { echo "run_gpu.sh: $1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"; shift 2 ;;
    *) echo "run_gpu.sh: unknown argument '$1'; see the head of this file" >&2; exit 2 ;;
  esac
done

# The folders of tests that compute on CUDA; such a test has it in its name.
folders=(adversary evaluation io kernels objective ops target training)
filter='*cuda*:*Cuda*'
programs=(bin/vpd benchmarks/step benchmarks/kernels)
for folder in "${folders[@]}"; do programs+=("bin/vpd_${folder}_tests"); done

if [[ -n $bundle ]]; then
  build=${build:-build/gpu}
  if ((do_build)); then
    # For processors with AVX2: the other machine's need not have all that this one's has.
    tools/setup && cmake --preset release -B "$build" -DVPD_CUDA=ON -DVPD_CPU_LEVEL=x86-64-v3 || exit 1
    cmake --build "$build" --parallel "$(nproc)" --target vpd_program vpd_benchmark_step vpd_benchmark_kernels \
      $(printf 'vpd_%s_tests ' "${folders[@]}") || exit 1
  fi
  pack_bundle "$build" "$bundle" "$baselines" "${programs[@]}"
  exit
fi

command -v nvidia-smi > /dev/null || { echo "run_gpu.sh: there is no nvidia-smi, so no GPU to measure" >&2; exit 3; }
if [[ -z $python ]]; then
  python=.venv/bin/python
  [[ -x $python ]] || python=python3
fi
if [[ -e BUNDLE ]]; then
  build=. do_build=0
  [[ -n $baselines || ! -d baselines ]] || baselines=baselines
  enter_bundle "$root" "$python" "${programs[@]}" || exit 3
fi
build=${build:-build/release}
if ((do_build)); then
  tools/setup && cmake --preset release -B "$build" && cmake --build "$build" --parallel "$(nproc)" || exit 1
fi
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr ' ' '-' | tr -cd 'A-Za-z0-9-')
out=${out:-benchmarks/results/$(date +%F)-$gpu}
mkdir -p "$out"
export VPD_SOURCE_DIR=$root VPD_TEST_DATA=$root/tests/data  # where tests look, in place of where they were built

failed=() deadline=$((SECONDS + 60 * minutes))
wanted() { [[ ,$only, == *,$1,* ]]; }
fail() {  # NAME WHY
  echo "FAILED  $1: $2"
  failed+=("$1")
}
# part NAME SECONDS COMMAND...: runs it within a bound, with its output in a file, and says how it went.
part() {
  local name=$1 bound=$2 log="$out/$1.log" start=$SECONDS left=$((deadline - SECONDS)) code=0
  shift 2
  if ((left <= 0)); then
    fail "$name" "left out, the $minutes minutes are over"
    return
  fi
  ((bound <= left)) || bound=$left
  timeout "$bound" "$@" > "$log" 2>&1 || code=$?
  if ((code == 0)); then
    echo "ok      $name ($((SECONDS - start)) s)"
  else
    fail "$name" "exit code $code after $((SECONDS - start)) s; the end of $log:"
    tail -5 "$log" | sed 's/^/        /'
  fi
  return $code
}
step() {  # NAME ARGUMENTS...
  local name=$1
  shift
  part "step-$name" 120 "$build/benchmarks/step" --device cuda --random-target --steps 20 --warmup 5 --json "$out/step-$name.json" "$@"
}

nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv > "$out/gpu.csv"

if wanted tests; then
  for folder in "${folders[@]}"; do
    program="$build/bin/vpd_${folder}_tests"
    # In a variable: grep leaves at the first match, and a program that cannot write the rest of a long list fails.
    if ! list=$("$program" --gtest_list_tests --gtest_filter="$filter" 2>&1) || [[ $list != *$'\n  '* ]]; then
      fail "tests-$folder" "expected $program to list tests for CUDA, found: ${list:0:500}"
      continue
    fi
    part "tests-$folder" 150 "$program" --gtest_filter="$filter" --gtest_brief=1
    if grep -q 'NOT TESTED' "$out/tests-$folder.log" 2> /dev/null; then
      fail "tests-$folder" "NOT TESTED: this build cannot use the GPU, see $out/tests-$folder.log"
    fi
  done
fi
if wanted steps; then
  step pile_4l-4x512 --config configs/pile_4l.yaml --batch 4
  step pile_4l-16x512 --config configs/pile_4l.yaml --batch 16
  step pile_4l-64x512 --config configs/pile_4l.yaml --batch 64
  step ss_2l-32x512 --config configs/ss_2l.yaml --batch 32
  step pile_4l-16x512-fp32 --config configs/pile_4l.yaml --batch 16 --set precision=fp32
  # How time and memory grow, with the batch and with C.
  step pile_4l-32x512 --config configs/pile_4l.yaml --batch 32
  step pile_4l-16x512-half-C --config configs/pile_4l.yaml --batch 16 --set sites.0.C=1536 --set sites.1.C=1792 --set sites.2.C=256 \
    --set sites.3.C=512
fi
if wanted graph; then
  step pile_4l-16x512-graph --config configs/pile_4l.yaml --batch 16 --set training.cuda_graph=true
  step pile_4l-64x512-graph --config configs/pile_4l.yaml --batch 64 --set training.cuda_graph=true
  step ss_2l-32x512-graph --config configs/ss_2l.yaml --batch 32 --set training.cuda_graph=true
  step pile_4l-16x512-graph-cudnn --config configs/pile_4l.yaml --batch 16 --set training.cuda_graph=true --cudnn-attention
fi
if wanted baselines && [[ -n $baselines ]]; then
  compare() {  # NAME ARGUMENTS...
    local name=$1
    shift
    part "compare-$name" 480 "$python" benchmarks/compare.py --program "$build/benchmarks/step" --pytorch "$baselines/vpd_step.py" \
      --jax "$baselines/vpd_step_jax.py" --compile --python "$python" --device cuda --rounds 1 --steps 20 --timeout 180 \
      --json "$out/compare-$name.json" "$@"
  }
  export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$root/build/jax}"
  compare ss_2l-32x512 --config configs/ss_2l.yaml --preset ss_2l --batch 32 --seq 512
  compare pile_4l-16x512 --config configs/pile_4l.yaml --preset pile_4l --batch 16 --seq 512
fi
if wanted kernels; then
  part kernels 180 "$build/benchmarks/kernels" --benchmark_out="$out/kernels.json" --benchmark_out_format=json --benchmark_min_time=0.01
  if (($? == 124)) && [[ -s $out/kernels.json ]]; then
    printf '\n  ]\n}\n' >> "$out/kernels.json"  # stopped within the list of those that it timed
  fi
fi
if wanted checker; then
  check() {  # TOOL FILTER
    # Without LibTorch's cache of memory, within whose blocks of 2 MiB an access beside a tensor is no error.
    part "checker-$1" 240 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$1" --error-exitcode 1 --launch-timeout 60 \
      "$build/bin/vpd_kernels_tests" --gtest_filter="$2-*Moments*:*Uniform*:*Largest*:*Probability*:*KlTest*Formula*" --gtest_brief=1
  }
  if command -v compute-sanitizer > /dev/null; then
    # Few kernels and small sizes: the checker slows one down a hundredfold. Those that index by lists and masks, and those whose
    # threads meet in shared memory. Not initcheck: rows that are padded, and the ends of lists, are unwritten on purpose.
    check memcheck '*Gate*cuda*:*Kl*cuda*:*Squash*cuda*:*Positions*cuda*'
    check racecheck '*Gate*cuda*:*Kl*cuda*:*Norm*cuda*:*Histogram*cuda*'
  else
    fail checker "there is no compute-sanitizer"
  fi
fi

"$python" - "$out" << 'SUMMARY'
import json, pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).glob("step-*.json")):
    r = json.loads(path.read_text())
    print(f"{path.stem[5:]:28} {r['ms_per_step']['median']:9.2f} ms  {r['tokens_per_s']:12,.0f} tokens/s  {r['peak_bytes'] / 2**30:6.1f} GiB  "
          f"{100 * r['ratio_to_peak']:5.1f} % of {r['matrix_product_peak_flop_per_s'] / 1e12:.0f} TFLOP/s")
    for name, part in (r["parts"] or {}).items():
        floor, ratio = part.get("floor_ms"), part.get("ratio")
        print(f"    {name:36} {part['ms'] or 0:9.2f} ms" + (f"  {ratio:5.2f} x the floor of {floor:.2f} ms" if ratio else ""))
for path in sorted(pathlib.Path(sys.argv[1]).glob("compare-*.json")):
    comparison = json.loads(path.read_text())
    for name, ratio in comparison["ratios"].items():
        print(f"{path.stem[8:]:28} {ratio['speed_median']:6.2f} x as fast as {name}, memory of {name} {ratio['memory']:.2f} x ours")
    for name, why in comparison["failed"].items():
        print(f"{path.stem[8:]:28} no result of {name}: {why.strip().splitlines()[-1]}")
SUMMARY
if ((${#failed[@]})); then
  echo "failed: ${failed[*]}"
  exit 1
fi
