"""Times the training step of this library and of the plain PyTorch baseline in turn, A B A B, on the same shapes.

    python benchmarks/compare.py --program build/release/benchmarks/step --baseline path/to/vpd_step.py --python .venv/bin/python \\
        --config configs/ss_2l.yaml --batch 2 --seq 128 --threads 2 --rounds 3 --json benchmarks/results/ss_2l.json

Both sides get random weights and tokens. The baseline gets the shapes that ours reports. Each round is a process of its own; a
side's milliseconds are the median (minimum) over rounds of each round's median (minimum), and ratios are baseline over ours.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

# What the baseline's shapes of the target may say.
TARGET_KEYS = ("vocab_size", "n_layer", "n_head", "n_embd", "n_intermediate", "n_key_value_heads", "block_size", "n_ctx", "rotary_base",
               "rotary_adjacent_pairs", "rms_norm_eps", "attn_bias", "mlp_bias")


def run(command):
    """The JSON object that a command prints."""
    environment = dict(os.environ, OMP_WAIT_POLICY="passive")  # spinning threads stall each other on a shared machine
    result = subprocess.run(list(map(str, command)), env=environment, text=True, capture_output=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with exit code {result.returncode}:\n{result.stderr}")
    return json.loads(result.stdout)


def summary(runs):
    return {"ms_median": statistics.median(r["ms_per_step"]["median"] for r in runs),
            "ms_min": min(r["ms_per_step"]["min"] for r in runs),
            "peak_bytes": max(r["peak_bytes"] for r in runs)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, required=True, help="benchmarks/step of a build")
    parser.add_argument("--baseline", type=Path, required=True, help="vpd_step.py")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="interpreter with PyTorch, for the baseline")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override of the configuration (repeatable)")
    parser.add_argument("--target", type=Path, help="shapes of the random target, where the configuration's are not there")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--seq", type=int, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="the baseline under torch.compile")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, required=True)
    a = parser.parse_args()

    common = ["--batch", a.batch, "--seq", a.seq, "--steps", a.steps, "--warmup", a.warmup, "--threads", a.threads, "--device", a.device]
    ours_command = [a.program, "--config", a.config, "--random-target", *common]
    for override in a.set:
        ours_command += ["--set", override]
    if a.target:
        ours_command += ["--target", a.target]

    ours, baseline = [], []
    for number in range(a.rounds):
        ours.append(run(ours_command))
        shapes = ours[0]
        target = {key: value for key, value in shapes["target"].items() if key in TARGET_KEYS}
        baseline_command = [a.python, a.baseline, *common, "--target", json.dumps(target), "--sites", json.dumps(shapes["sites"]),
                            "--ci", json.dumps(shapes["causal_importance"])]
        baseline.append(run(baseline_command + (["--compile"] if a.compile else [])))
        for key in ("subcomponents", "parameters_components", "parameters_ci"):
            if ours[-1][key] != baseline[-1][key]:
                sys.exit(f"{key}: ours {ours[-1][key]}, the baseline's {baseline[-1][key]}: these are not the same shapes")
        print(f"round {number + 1} of {a.rounds}: ours {ours[-1]['ms_per_step']['median']:.1f} ms, "
              f"baseline {baseline[-1]['ms_per_step']['median']:.1f} ms", file=sys.stderr)

    left, right = summary(ours), summary(baseline)
    result = {"config": str(a.config), "batch": a.batch, "seq": a.seq, "threads": a.threads, "device": ours[0]["device"], "rounds": a.rounds,
              "ours": left, "baseline": right,
              "speed_ratio": {"median": right["ms_median"] / left["ms_median"], "min": right["ms_min"] / left["ms_min"]},
              "memory_ratio": right["peak_bytes"] / left["peak_bytes"], "runs": {"ours": ours, "baseline": baseline}}
    a.json.parent.mkdir(parents=True, exist_ok=True)
    temporary = a.json.with_suffix(a.json.suffix + ".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(a.json)
    print(json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=1))


if __name__ == "__main__":
    main()
