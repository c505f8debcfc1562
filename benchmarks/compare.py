"""Times the training step of this library and of other programs in turn, A B C A B C, on the same shapes.

    python benchmarks/compare.py --program build/release/benchmarks/step --pytorch path/to/vpd_step.py --python .venv/bin/python \\
        --config configs/ss_2l.yaml --batch 2 --seq 128 --threads 2 --rounds 3 --json benchmarks/results/ss_2l.json

--pytorch is the step in plain PyTorch, --compile adds the same under torch.compile, and --jax the jitted step in JAX, which knows the
shapes of its presets alone (--preset). All sides get random weights and tokens; the PyTorch ones get the shapes that ours reports. Each
round is a process of its own; a side's milliseconds are the median (minimum) over rounds of each round's median (minimum), and ratios
are the other side over ours. A side that fails, or takes longer than --timeout, is named at the end, with exit code 1, and left out of
later rounds; what was measured is in the file after every process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

# What the PyTorch baseline's shapes of the target may say.
TARGET_KEYS = ("vocab_size", "n_layer", "n_head", "n_embd", "n_intermediate", "n_key_value_heads", "block_size", "n_ctx", "rotary_base",
               "rotary_adjacent_pairs", "rms_norm_eps", "attn_bias", "mlp_bias")


class Failed(Exception):
    """Why there is no result of a side."""


def run(command, timeout):
    """The JSON object that a command prints last."""
    command = list(map(str, command))
    environment = dict(os.environ, OMP_WAIT_POLICY="passive")  # spinning threads stall each other on a shared machine
    try:
        result = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)} was stopped after {timeout} s")
    if result.returncode != 0:
        raise Failed(f"{' '.join(command)} failed with exit code {result.returncode}:\n{result.stderr}")
    return json.loads(result.stdout[result.stdout.index("{"):])


def summary(runs):
    return {"ms_median": statistics.median(r["ms_per_step"]["median"] for r in runs),
            "ms_min": min(r["ms_per_step"]["min"] for r in runs),
            "peak_bytes": max(r["peak_bytes"] for r in runs)}


def other_sides(a, shapes, common):
    """name -> command."""
    sides = {}
    if a.pytorch:
        target = {key: value for key, value in shapes["target"].items() if key in TARGET_KEYS}
        command = [a.python, a.pytorch, *common, "--threads", a.threads, "--device", a.device, "--target", json.dumps(target), "--sites",
                   json.dumps(shapes["sites"]), "--ci", json.dumps(shapes["causal_importance"])]
        sides["pytorch"] = command
    if a.jax:
        sides["jax"] = [a.jax_python or a.python, a.jax, "--preset", a.preset, *common]
        if a.jax_attention:
            sides["jax"] += ["--attention", a.jax_attention]
    if a.pytorch and a.compile:
        sides["pytorch_compile"] = command + ["--compile"]  # last, since it compiles for minutes
    return sides


def measure(name, command, shapes, timeout):
    """A run of another side; shapes are what ours printed."""
    found = run(command, timeout)
    for key in ("subcomponents", "parameters_components", "parameters_ci"):
        if found.get(key, shapes[key]) != shapes[key]:
            raise Failed(f"{key}: ours {shapes[key]}, {name}'s {found[key]}: these are not the same shapes")
    return found


def comparison(a, runs, failed):
    """What the file holds."""
    sides = {name: summary(side) for name, side in runs.items()}
    ours = sides["ours"]
    return {"config": str(a.config), "batch": a.batch, "seq": a.seq, "threads": a.threads, "device": runs["ours"][0]["device"],
            "commit": runs["ours"][0]["commit"], "rounds": a.rounds, "sides": sides,
            "ratios": {name: {"speed_median": side["ms_median"] / ours["ms_median"], "speed_min": side["ms_min"] / ours["ms_min"],
                              "memory": side["peak_bytes"] / ours["peak_bytes"]}
                       for name, side in sides.items() if name != "ours"},
            "failed": failed, "runs": runs}


def write(path, result):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, required=True, help="benchmarks/step of a build")
    parser.add_argument("--pytorch", type=Path, help="vpd_step.py")
    parser.add_argument("--jax", type=Path, help="vpd_step_jax.py")
    parser.add_argument("--jax-attention", choices=("cudnn", "xla"), help="where the one that JAX takes by itself fails")
    parser.add_argument("--preset", help="whose shapes the configuration has, for --jax")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="interpreter with PyTorch")
    parser.add_argument("--jax-python", type=Path, help="interpreter with JAX, where that is another one")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override of the configuration (repeatable)")
    parser.add_argument("--target", type=Path, help="shapes of the random target, where the configuration's are not there")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--seq", type=int, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="PyTorch under torch.compile too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--timeout", type=int, metavar="SECONDS", help="bound for every process")
    parser.add_argument("--json", type=Path, required=True)
    a = parser.parse_args()
    if not a.pytorch and not a.jax:
        parser.error("expected --pytorch or --jax, something to compare with")
    if a.jax and not a.preset:
        parser.error("--jax needs --preset, the shapes that it shall take")

    common = ["--batch", a.batch, "--seq", a.seq, "--steps", a.steps, "--warmup", a.warmup]
    ours_command = [a.program, "--config", a.config, "--random-target", *common, "--threads", a.threads, "--device", a.device]
    for override in a.set:
        ours_command += ["--set", override]
    if a.target:
        ours_command += ["--target", a.target]

    runs, failed = {"ours": []}, {}
    for number in range(a.rounds):
        try:
            runs["ours"].append(run(ours_command, a.timeout))
        except Failed as failure:
            sys.exit(str(failure))
        shapes = runs["ours"][0]
        if "causal_importance" not in shapes:
            sys.exit(f"{a.config}: expected causal importance of type global_shared_transformer, the one that the others have")
        write(a.json, comparison(a, runs, failed))
        for name, command in other_sides(a, shapes, common).items():
            if name in failed:
                continue
            try:
                found = measure(name, command, shapes, a.timeout)
                runs.setdefault(name, []).append(found)
            except Failed as failure:
                failed[name] = str(failure)
            write(a.json, comparison(a, runs, failed))
        print(f"round {number + 1} of {a.rounds}: " +
              ", ".join(f"{name} {side[-1]['ms_per_step']['median']:.1f} ms" for name, side in runs.items()), file=sys.stderr)

    print(json.dumps({key: value for key, value in comparison(a, runs, failed).items() if key != "runs"}, indent=1))
    if failed:
        sys.exit("\n".join(f"no result of {name}: {why}" for name, why in failed.items()))


if __name__ == "__main__":
    main()
