"""Times the step of a targeted decomposition of a Llama in plain PyTorch, and beside it, in turn, that of vpd's `step`; prints one JSON object.

    vpd decompose benchmarks/targeted_smollm2.yaml --out RUN --set training.steps=1
    targeted_step.py --run RUN --step build/ci/bin/step --rounds 3 --threads 2

Both begin with the weights and the configuration of RUN, whose target is a `transformers` directory of the Llama family. The PyTorch step is written from the
method (docs/method.md, docs/targeted.md) alone: autograd does every backward pass, W - U V is a matrix that is multiplied, every pass is the whole model. With
--from-first-site its masked passes, too, begin at the first block that has a site, as vpd's do.

Do both compute the same? --losses compares the means of their losses over the steps of a run that does not learn, with standard errors, since random masks differ:

    vpd decompose benchmarks/targeted_smollm2.yaml --out RUN --set training.steps=50 --set training.learning_rate=1e-12 --set training.unused_decay=0 --set output.log_every=1
    targeted_step.py --run RUN --losses
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads stall each other on a shared machine

import numpy
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file


class Llama:
    """A plain forward. `apply(name, x)` multiplies by a matrix, so that whoever passes it decides what the matrix is."""

    def __init__(self, directory):
        self.config = json.loads((directory / "config.json").read_text())
        self.weights = {name.removeprefix("model."): w.float() for name, w in load_file(directory / "model.safetensors").items()}
        self.heads, self.groups = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        self.d_head = self.config.get("head_dim") or self.config["hidden_size"] // self.heads
        self.blocks = self.config["num_hidden_layers"]
        rope = self.config.get("rope_parameters") or {}
        half = self.d_head // 2
        self.frequencies = rope.get("rope_theta", self.config.get("rope_theta", 10000.0)) ** (-torch.arange(half) / half)

    def linear(self, name, x):
        return F.linear(x, self.weights[name + ".weight"])

    def norm(self, name, x):
        return F.rms_norm(x, x.shape[-1:], self.weights[name + ".weight"], self.config["rms_norm_eps"])

    def turned(self, x):
        angle = torch.arange(x.shape[2])[:, None] * self.frequencies
        cos, sin = angle.cos(), angle.sin()
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def stream(self, x, first, last, apply):
        B, T, _ = x.shape
        for i in range(first, last):
            block = f"layers.{i}."
            h = self.norm(block + "input_layernorm", x)
            q, k, v = (apply(f"{block}self_attn.{n}_proj", h).view(B, T, -1, self.d_head).transpose(1, 2) for n in "qkv")
            a = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v, is_causal=True, enable_gqa=self.groups != self.heads)
            x = x + apply(block + "self_attn.o_proj", a.transpose(1, 2).reshape(B, T, -1))
            h = self.norm(block + "post_attention_layernorm", x)
            x = x + apply(block + "mlp.down_proj", F.silu(apply(block + "mlp.gate_proj", h)) * apply(block + "mlp.up_proj", h))
        return x

    def embed(self, tokens):
        return self.weights["embed_tokens.weight"][tokens]

    def logits(self, x):
        return self.norm("norm", x) @ self.weights.get("lm_head.weight", self.weights["embed_tokens.weight"]).T


class LowerLeaky(torch.autograd.Function):
    """clamp(z, 0, 1); below 0 a hundredth of a gradient that would raise it comes through."""

    @staticmethod
    def forward(context, z):
        context.save_for_backward(z)
        return z.clamp(0, 1)

    @staticmethod
    def backward(context, gradient):
        (z,) = context.saved_tensors
        return torch.where(z <= 0, 0.01 * gradient.clamp(max=0), torch.where(z <= 1, gradient, 0.0))


def schedule(entry, done):
    """A value that changes over the run, at the fraction `done` of it."""
    if not isinstance(entry, dict):
        return entry
    if entry.get("points"):
        for (a, x), (b, y) in reversed(list(zip(entry["points"], entry["points"][1:]))):
            if a <= done <= b and a < b:
                return x + (y - x) * (done - a) / (b - a)
        return entry["points"][-1][1]
    start, end = entry["start"], entry.get("end", entry["start"])
    if entry.get("schedule") == "cosine":
        end = entry.get("final_fraction", 0.0) * start
        return end + 0.5 * (start - end) * (1 + math.cos(math.pi * done))
    return start + (end - start) * done


class Step:
    def __init__(self, run, from_first_site):
        self.config = yaml.safe_load((run / "config.yaml").read_text())
        checkpoint = max((run / "checkpoints").glob("step_*"))
        self.target = Llama(Path(self.config["target"]["path"]))
        parameters = {name: torch.nn.Parameter(w) for name, w in load_file(checkpoint / "decomposition.safetensors").items()}
        self.sites = sorted({name.rpartition(".")[0] for name in parameters})
        self.V = {s: parameters[s + ".V"] for s in self.sites}
        self.U = {s: parameters[s + ".U"] for s in self.sites}
        self.C = [self.V[s].shape[1] for s in self.sites]
        self.importance = {name: torch.nn.Parameter(w) for name, w in load_file(checkpoint / "causal_importance.safetensors").items()}
        self.components = [*self.V.values(), *self.U.values()]
        training = self.config["training"]
        self.optimizer = torch.optim.AdamW([*self.components, *self.importance.values()], weight_decay=0.0)
        self.first = min(int(s.split(".")[1]) for s in self.sites) if from_first_site else 0
        self.steps = training["steps"]
        term = self.term("adversarial_recon")
        T = self.config["data"]["train"]["sequence_length"]
        self.sources = [torch.rand(1, T, C + 1, requires_grad=True) for C in self.C]
        self.moments = [(torch.zeros_like(r), torch.zeros_like(r)) for r in self.sources]
        self.ascents, self.adversary = 0, term["adversary"]
        if self.adversary["type"] != "persistent" or self.adversary["scope"] != "shared_across_batch":
            raise SystemExit("targeted_step.py: expected a persistent adversary that is shared by the batch")

    def term(self, kind, rows="target"):
        return next(t for t in self.config["objective"] if t["type"] == kind and t.get("rows", "target") == rows)

    def clean(self, tokens):
        """The target's own pass: its log-probabilities where they are compared, the sites' inputs, the stream before the first site."""
        inputs = {}

        def watched(name, x):
            if name in self.V:
                inputs[name] = x
            return self.target.linear(name, x)

        with torch.no_grad():
            x = self.target.stream(self.target.embed(tokens), 0, self.first, watched)
            end = self.target.stream(x, self.first, self.target.blocks, watched)
        return inputs, x, end

    def pre_activations(self, inputs):
        x = torch.cat([inputs[s] for s in self.sites], -1)
        layers = len(self.importance) // 2
        for i in range(layers):
            x = F.linear(x, self.importance[f"layers.{i}.weight"], self.importance[f"layers.{i}.bias"])
            if i + 1 < layers:
                x = F.gelu(x)
        return x

    def routing(self, shape):
        """Per position a random number of sites, and as many at random."""
        wanted = torch.randint(1, len(self.sites) + 1, (*shape, 1))
        return torch.rand(*shape, len(self.sites)).argsort(-1).argsort(-1) < wanted

    def kl(self, stream, x_target, masks, deltas, route, rest, last):
        places = {s: i for i, s in enumerate(self.sites)}

        def masked(name, x):
            plain = self.target.linear(name, x)
            if name not in places:
                return plain
            i = places[name]
            y = ((x @ self.V[name]) * masks[i]) @ self.U[name] + deltas[i] * (x @ rest[name])
            return torch.where(route[..., i : i + 1], y, plain) if route is not None else y

        x = self.target.stream(stream, self.first, self.target.blocks, masked)
        if last:
            x, x_target = x[:, -1:], x_target[:, -1:]
        with torch.no_grad():
            wanted = self.target.logits(x_target).log_softmax(-1)
        found = self.target.logits(x).log_softmax(-1)
        return F.kl_div(found.flatten(0, -2), wanted.flatten(0, -2), log_target=True, reduction="batchmean")

    def masks(self, g, sources):
        return [part + (1 - part) * r for part, r in zip(g.split(self.C, -1), sources)]

    def climb(self, gradients, done):
        self.ascents += 1
        beta1, beta2 = (self.adversary["optimizer"][name] for name in ("beta1", "beta2"))
        rate = schedule(self.adversary["learning_rate"], done)
        with torch.no_grad():
            for r, (m, v), g in zip(self.sources, self.moments, gradients):
                m.mul_(beta1).add_(g, alpha=1 - beta1)
                v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
                r.add_(rate * (m / (1 - beta1**self.ascents)) / ((v / (1 - beta2**self.ascents)).sqrt() + 1e-8)).clamp_(0, 1)

    def adversarial(self, stream, x_target, g, rest, route):
        masks = self.masks(g, [r[..., :-1] for r in self.sources])
        return self.kl(stream, x_target, masks, [r[..., -1:] for r in self.sources], route, rest, last=True)

    def step(self, number, prompts, background):
        done = number / self.steps
        rest = {s: self.target.weights[s + ".weight"].T - self.V[s] @ self.U[s] for s in self.sites}
        losses, g = {}, {}
        total = 0.0
        for rows, tokens in (("target", prompts), ("background", background)):
            inputs, stream, end = self.clean(tokens)
            z = self.pre_activations(inputs)
            g[rows] = LowerLeaky.apply(z)
            draw = [torch.rand(*tokens.shape, C) for C in self.C]
            delta = [torch.ones(())] * len(self.C) if rows == "background" else [torch.rand(*tokens.shape, 1) for _ in self.C]
            term = self.term("stochastic_recon", rows)
            loss = self.kl(stream, end, self.masks(g[rows], draw), delta, self.routing(tokens.shape), rest, last=rows == "target")
            losses[f"{rows} stochastic_recon"] = loss
            total = total + schedule(term["coefficient"], done) * loss
            term = self.term("importance_minimality", rows)
            upper = torch.where(z > 1, 1 + 0.01 * (z - 1), z.clamp(0, 1))
            loss = (upper + 1e-12).pow(schedule(term["p"], done)).flatten(0, 1).mean(0).sum()
            losses[f"{rows} importance_minimality"] = loss
            total = total + schedule(term["coefficient"], done) * loss
            if rows == "target":
                term = self.term("adversarial_recon")
                still, held = g[rows].detach(), {s: w.detach() for s, w in rest.items()}
                for _ in range(self.adversary["warmup_steps"]):
                    loss = self.adversarial(stream, end, still, held, None)
                    self.climb(torch.autograd.grad(loss, self.sources), done)
                loss = self.adversarial(stream, end, g[rows], rest, None)
                losses["target adversarial_recon"] = loss
                total = total + schedule(term["coefficient"], done) * loss
        self.optimizer.zero_grad()
        for r in self.sources:
            r.grad = None
        total.backward()
        last = [r.grad / schedule(self.term("adversarial_recon")["coefficient"], done) for r in self.sources]
        torch.nn.utils.clip_grad_norm_(self.components, self.config["training"]["gradient_clip"]["components"])
        rate = schedule(self.config["training"]["learning_rate"], done)
        with torch.no_grad():
            needed = torch.maximum(g["target"].flatten(0, 1).amax(0), g["background"].flatten(0, 1).amax(0))
            kept = 1 - rate * self.config["training"]["unused_decay"] * (1 - needed)
            for s, k in zip(self.sites, kept.split(self.C)):
                self.V[s].mul_(k)
                self.U[s].mul_(k[:, None])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.climb(last, done)
        return {name: float(loss.detach()) for name, loss in losses.items()}


def rows_of(run):
    """Prompts of the configuration, over and over, and rows of its background."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    lines = [json.loads(line) for line in Path(config["data"]["train"]["path"]).read_text().splitlines() if line.strip()]
    prompts = torch.tensor([line["tokens"] for line in lines])
    wanted = config["training"]["batch_size"]
    background = config["data"]["background"]
    length, count = background["sequence_length"], config["training"]["background_batch_size"]
    magic = numpy.fromfile(background["path"], dtype="<i4", count=1)[0]  # of llm.c: its header takes 1,024 bytes
    tokens = numpy.fromfile(background["path"], dtype={20240520: "<u2", 20240801: "<u4"}[int(magic)], offset=1024)
    tokens = torch.from_numpy(tokens[: len(tokens) // length * length].astype(numpy.int64)).view(-1, length)
    at = lambda number: torch.arange(number * count, (number + 1) * count) % len(tokens)
    return lambda number: (prompts[torch.arange(wanted) % len(prompts)], tokens[at(number)])


def time_plain(arguments, from_first_site):
    torch.manual_seed(0)
    step = Step(arguments.run, from_first_site)
    rows = rows_of(arguments.run)
    times, first = [], None
    for number in range(arguments.warmup + arguments.steps):
        prompts, background = rows(number)
        start = time.perf_counter()
        losses = step.step(number, prompts, background)
        times.append(1e3 * (time.perf_counter() - start))
        first = first or losses
    return {"ms": statistics.median(times[arguments.warmup :]), "first_losses": first}


def time_ours(arguments):
    checkpoint = max((arguments.run / "checkpoints").glob("step_*"))
    done = subprocess.run([arguments.step, "--config", str(arguments.run / "config.yaml"), "--set", f"initialize_from={checkpoint}", "--steps", str(max(20, arguments.steps)),
                           "--warmup", str(arguments.warmup), "--threads", str(arguments.threads)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"targeted_step.py: {arguments.step} ended with exit code {done.returncode}: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    return {"ms": found["ms_per_step"]["median"], "first_losses": found["first_losses"], "operations_per_step": found["operations_per_step"],
            "ratio_to_peak": found["ratio_to_peak"], "commit": found["commit"]}


def show(result, file):
    text = json.dumps(result, indent=1)
    print(text)
    if file:
        file.write_text(text + "\n")


def mean_and_error(values):
    return {"mean": statistics.mean(values), "standard_error": statistics.stdev(values) / len(values) ** 0.5}


def compare_losses(arguments):
    torch.manual_seed(1)
    step = Step(arguments.run, arguments.from_first_site)
    if schedule(step.config["training"]["learning_rate"], 0.0) > 1e-9:
        raise SystemExit("targeted_step.py: expected a run with a learning rate of 1e-12, which compares losses of the same weights")
    rows = rows_of(arguments.run)
    found = [step.step(number, *rows(number)) for number in range(step.steps)]
    logged = [json.loads(line) for line in (arguments.run / "metrics.jsonl").read_text().splitlines()]
    names = {"target stochastic_recon": "stochastic_recon", "target adversarial_recon": "adversarial_recon", "target importance_minimality": "importance_minimality",
             "background stochastic_recon": "background", "background importance_minimality": "background_minimality"}
    return {name: {"pytorch": mean_and_error([one[name] for one in found]),
                   "vpd": mean_and_error([line["train/loss/" + ours] for line in logged if "train/loss/" + ours in line])} for name, ours in names.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run of vpd decompose: its configuration and weights")
    parser.add_argument("--step", help="vpd's step; without it PyTorch's alone is timed")
    parser.add_argument("--losses", action="store_true", help="compare losses in place of times")
    parser.add_argument("--from-first-site", action="store_true", help="let masked passes of PyTorch's begin at the first block that has a site")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.losses:
        show({"program": "targeted_step.py --losses", "losses": compare_losses(arguments)}, arguments.json)
        return
    rounds = []
    for number in range(arguments.rounds):
        found = {}
        for name in ("pytorch", "vpd") if number % 2 == 0 else ("vpd", "pytorch"):
            if name == "pytorch":
                found[name] = time_plain(arguments, arguments.from_first_site)
            elif arguments.step:
                found[name] = time_ours(arguments)
        rounds.append(found)
    result = {"program": "targeted_step.py", "from_first_site": arguments.from_first_site, "threads": arguments.threads, "steps": arguments.steps,
              "machine": platform.processor() or platform.machine(), "torch": torch.__version__, "rounds": rounds}
    if arguments.step:
        ratios = [found["pytorch"]["ms"] / found["vpd"]["ms"] for found in rounds]
        result["ratio"] = {"median": statistics.median(ratios), "smallest": min(ratios), "largest": max(ratios)}
    show(result, arguments.json)


if __name__ == "__main__":
    main()
