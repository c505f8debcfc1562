#!/bin/bash
# Everything that a GPU is needed for, in one command and about nine minutes: builds, runs the tests on the GPU, runs the
# kernels' tests under the memory checker, times every kernel and the training steps, and the baselines beside them.
#
#   benchmarks/run_gpu.sh [--out DIR] [--build DIR] [--no-build] [--baselines DIR] [--python PYTHON] [--only PART,PART]
#
# --out: where the JSON goes (benchmarks/results/<date>-<gpu>). --build: the build directory (build/release); --no-build takes its
# programs as they are, for a machine that has none of the packages. --baselines: a directory with vpd_step.py and vpd_step_jax.py;
# without it they are left out. Parts, in their order: tests, steps, graph, baselines, kernels, growth, checker. A part that fails is
# reported at the end, with exit code 1, and does not keep the others from running. Nine minutes after the build no further part starts
# and the last one is stopped: what was left out is reported as failed, and --only runs it.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

out="" build=build/release do_build=1 baselines="" python="" only="tests,steps,graph,baselines,kernels,growth,checker"
while (($#)); do
  case $1 in
    --no-build) do_build=0; shift; continue ;;
    --out | --build | --baselines | --python | --only)
      (($# >= 2)) || { echo "run_gpu.sh: $1 needs a value" >&2; exit 2; }
      declare "${1#--}=$2"; shift 2 ;;
    *) echo "run_gpu.sh: unknown argument '$1'; see the head of this file" >&2; exit 2 ;;
  esac
done
command -v nvidia-smi > /dev/null || { echo "run_gpu.sh: there is no nvidia-smi, so no GPU to measure" >&2; exit 3; }
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr ' ' '-' | tr -cd 'A-Za-z0-9-')
out=${out:-benchmarks/results/$(date +%F)-$gpu}
mkdir -p "$out"
if [[ -z $python ]]; then
  python=.venv/bin/python
  [[ -x $python ]] || python=python3
fi

if ((do_build)); then
  tools/setup && cmake --preset release -B "$build" && cmake --build "$build" --parallel "$(nproc)" || exit 1
fi

failed=() deadline=$((SECONDS + 540))
wanted() { [[ ,$only, == *,$1,* ]]; }
# part NAME SECONDS COMMAND...: runs it within a bound, with its output in a file, and says how it went.
part() {
  local name=$1 bound=$2 log="$out/$1.log" start=$SECONDS left=$((deadline - SECONDS))
  shift 2
  if ((left <= 0)); then
    echo "LEFT OUT  $name: the nine minutes are over"
    failed+=("$name")
    return
  fi
  ((bound <= left)) || bound=$left
  if timeout "$bound" "$@" > "$log" 2>&1; then
    echo "ok      $name ($((SECONDS - start)) s)"
  else
    local code=$?
    echo "FAILED  $name with exit code $code after $((SECONDS - start)) s; the end of $log:"
    tail -5 "$log" | sed 's/^/        /'
    failed+=("$name")
  fi
}
step() {  # NAME ARGUMENTS...
  local name=$1
  shift
  part "step-$name" 120 "$build/benchmarks/step" --device cuda --random-target --steps 20 --warmup 5 --json "$out/step-$name.json" "$@"
}

nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv > "$out/gpu.csv"

if wanted tests; then
  # The tests that compute on CUDA: they name it, but for two that look for it. The others have nothing that a GPU changes.
  filter='*cuda*:*Cuda*:*CUDA*:*ToyTarget*:*HuggingFaceLogits*'
  for folder in kernels adversary objective target training evaluation io; do
    program="$build/bin/vpd_${folder}_tests"
    if "$program" --gtest_list_tests --gtest_filter="$filter" 2> /dev/null | grep -q '^  '; then
      part "tests-$folder" 150 "$program" --gtest_filter="$filter" --gtest_brief=1
      if grep -q 'NOT TESTED' "$out/tests-$folder.log" 2> /dev/null; then
        echo "FAILED  tests-$folder skipped tests: this build cannot use the GPU"
        failed+=("tests-$folder")
      fi
    else
      echo "FAILED  tests-$folder: $program has no test for it"
      failed+=("tests-$folder")
    fi
  done
fi
if wanted steps; then
  step pile_4l-4x512 --config configs/pile_4l.yaml --batch 4
  step pile_4l-16x512 --config configs/pile_4l.yaml --batch 16
  step pile_4l-64x512 --config configs/pile_4l.yaml --batch 64
  step ss_2l-32x512 --config configs/ss_2l.yaml --batch 32
  step pile_4l-16x512-fp32 --config configs/pile_4l.yaml --batch 16 --set precision=fp32
fi
if wanted graph; then
  step pile_4l-16x512-graph --config configs/pile_4l.yaml --batch 16 --set training.cuda_graph=true
  step pile_4l-64x512-graph --config configs/pile_4l.yaml --batch 64 --set training.cuda_graph=true
  step ss_2l-32x512-graph --config configs/ss_2l.yaml --batch 32 --set training.cuda_graph=true
fi
if wanted baselines && [[ -n $baselines ]]; then
  compare() {  # NAME SECONDS ARGUMENTS...
    local name=$1 bound=$2
    shift 2
    part "compare-$name" "$bound" "$python" benchmarks/compare.py --program "$build/benchmarks/step" --pytorch "$baselines/vpd_step.py" \
      --python "$python" --device cuda --rounds 1 --steps 20 --json "$out/compare-$name.json" "$@"
  }
  export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$root/build/jax}"
  compare ss_2l-32x512 240 --config configs/ss_2l.yaml --preset ss_2l --batch 32 --seq 512 --compile --jax "$baselines/vpd_step_jax.py"
  compare pile_4l-16x512 300 --config configs/pile_4l.yaml --preset pile_4l --batch 16 --seq 512 --compile --jax "$baselines/vpd_step_jax.py"
fi
if wanted kernels; then
  part kernels 90 "$build/benchmarks/kernels" --benchmark_out="$out/kernels.json" --benchmark_out_format=json --benchmark_min_time=0.05
fi
if wanted growth; then
  step pile_4l-32x512 --config configs/pile_4l.yaml --batch 32
  step pile_4l-16x512-half-C --config configs/pile_4l.yaml --batch 16 --set sites.0.C=1536 --set sites.1.C=1792 --set sites.2.C=256 \
    --set sites.3.C=512
fi
if wanted checker; then
  if command -v compute-sanitizer > /dev/null; then
    # Small sizes alone: the checker slows a kernel down a hundredfold. Without LibTorch's cache of memory, within whose blocks
    # of 2 MiB an access beside a tensor is no error.
    for tool in memcheck racecheck initcheck; do
      part "checker-$tool" 100 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 1 \
        --launch-timeout 60 "$build/bin/vpd_kernels_tests" --gtest_filter='*cuda*-*Moments*:*Uniform*:*Largest*:*Probability*:*KlTest*Formula*:*HeadKl*' --gtest_brief=1
    done
  else
    echo "LEFT OUT  checker: there is no compute-sanitizer"
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
    for name, ratio in json.loads(path.read_text())["ratios"].items():
        print(f"{path.stem[8:]:28} {ratio['speed_median']:6.2f} x as fast as {name}, memory of {name} {ratio['memory']:.2f} x ours")
SUMMARY
if ((${#failed[@]})); then
  echo "failed: ${failed[*]}"
  exit 1
fi
