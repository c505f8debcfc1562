"""Times the training steps of two builds of vpd in turn, and prints one JSON object: did a change make a step faster or slower?

    paired.py --before OLD/bin/vpd --after NEW/bin/vpd --config configs/demo/config.yaml --steps 200 --rounds 5

Each round runs `vpd decompose` of both programs, the order changing from round to round. A run's figure is the median of perf/step_ms over the
steps after the first three. The ratio is before over after, of each round; its interval is the smallest and the largest.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
from pathlib import Path


def step_times(program, arguments, directory):
    out = Path(directory) / "run"
    sets = [word for text in arguments.set for word in ("--set", text)]
    fixed = [f"training.steps={arguments.steps}", "output.log_every=1", "evaluation.every=null", "evaluation.slow_every=null", "evaluation.final=false",
             "training.faithfulness_warmup.steps=0", "output.checkpoint_every=1000000"]
    command = [program, "decompose", arguments.config, "--out", str(out), "--threads", str(arguments.threads), *sets]
    done = subprocess.run(command + [word for text in fixed for word in ("--set", text)], capture_output=True, text=True,
                          env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    if done.returncode != 0:
        raise SystemExit(f"paired.py: {program} ended with exit code {done.returncode}: {done.stderr.strip()}")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["perf/step_ms"] for line in lines if line.get("step", 0) >= 3 and "perf/step_ms" in line]


def version(program):
    return subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True)
    parser.add_argument("--after", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    if arguments.steps < 4 or arguments.rounds < 1:
        parser.error("expected at least 4 steps, of which the first three are not counted, and a round")
    rounds = []
    for number in range(arguments.rounds):
        found = {}
        for name in ("before", "after") if number % 2 == 0 else ("after", "before"):
            with tempfile.TemporaryDirectory() as directory:
                found[name] = statistics.median(step_times(getattr(arguments, name), arguments, directory))
        rounds.append(found)
    ratios = [found["before"] / found["after"] for found in rounds]
    result = {"config": arguments.config, "set": arguments.set, "steps": arguments.steps, "threads": arguments.threads,
              "machine": platform.processor() or platform.machine(), "before": version(arguments.before),
              "after": version(arguments.after), "rounds_ms": rounds,
              "median_ms": {name: statistics.median(found[name] for found in rounds) for name in ("before", "after")},
              "ratio": {"median": statistics.median(ratios), "smallest": min(ratios), "largest": max(ratios)}}
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.json:
        Path(arguments.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
