"""A made-up run of any size, without a program and without training: its configuration, curves, evaluation and harvest, and a tokenizer
with hostile tokens. Its checkpoint is gone, as that of a run may be, so it has no weights.

    synthetic_harvest.py DIRECTORY [SUBCOMPONENTS]

Tables lie as docs/formats.md and src/interpretation/harvest_tables.cpp have them. Counts agree with each other: those of tokens, signs,
positions and importances add up to the firings, and no token is counted more often than it comes.
"""

import copy
import json
import math
import os
import random
import struct
import sys
from array import array
from pathlib import Path

MATRICES = ("attn.k_proj", "attn.o_proj", "attn.q_proj", "attn.v_proj", "mlp.c_fc", "mlp.down_proj")
LAYERS, D, D_MLP, T, WINDOW, THRESHOLD = 4, 128, 512, 512, 20, 0.1
WIDTH = 2 * WINDOW + 1
CLAIM = "Causal importance on this data under maskings of the stated budget; not the mechanism, not a count of mechanisms."

# What a token may be and a page must not take for its own.
HOSTILE = [
    "</script><script>window.hostile=1</script>", "<img src=x onerror=window.hostile=1>", "{{META}}", "\u202eesrever", "a\u2028b",
    "\u2066lri\u2069", "\x1b[31mred", '"', "'", "\\", '\\"', "\\u003c", "&lt;b&gt;", "<!--", "]]>", "${window.hostile=1}",
    "javascript:window.hostile=1", "\x00", "\r\n", "\t", "-" * 120, "__proto__", "constructor", "\ufeff"]


def characters_of_bytes():
    """The character that a byte-level tokenizer writes for each byte."""
    characters, more = [], 0x100
    for byte in range(256):
        printable = 0x21 <= byte <= 0x7e or 0xa1 <= byte <= 0xac or 0xae <= byte
        characters.append(chr(byte if printable else more))
        more += not printable
    return characters


def texts_of_tokens(vocabulary):
    """HOSTILE, then words, most of which begin with a space."""
    draws = random.Random(5)
    texts = list(HOSTILE[:vocabulary])
    known = set(texts)
    while len(texts) < vocabulary:
        word = "".join(draws.choice("bdfgklmnprstvz") + draws.choice("aeiou") for _ in range(draws.randint(1, 4)))
        word = (" " if draws.random() < 0.8 else "") + word
        if word not in known:
            known.add(word)
            texts.append(word)
    return texts


def write_tokenizer(path, vocabulary):
    """A tokenizer.json of that many tokens; the first is an added one, whose text stands as it is."""
    characters = characters_of_bytes()
    texts = texts_of_tokens(vocabulary)
    encoded = ["".join(characters[byte] for byte in text.encode()) for text in texts]
    added = [{"id": 0, "content": texts[0], "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}]
    path.write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(encoded) if i}, "merges": []}}))
    return texts


def first_of_position_bin(b):
    if b < 4:
        return b
    start = 1 << (b // 4 + 1)
    return start + (b % 4) * start // 4


BINS = next(b for b in range(1000) if first_of_position_bin(b) >= T)


def write_tables(path, tensors):
    """A safetensors file of {name: (shape, array or (dtype, pieces of bytes))}, written piece by piece."""
    types = {"q": "I64", "i": "I32", "B": "U8", "f": "F32", "d": "F64"}
    header, parts, at = {}, [], 0
    for name, (shape, values) in tensors.items():
        dtype, pieces = (types[values.typecode], [values.tobytes()]) if isinstance(values, array) else values
        size = sum(map(len, pieces))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
        parts.append(pieces)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for pieces in parts:
            file.write(b"".join(pieces))


class Streams:
    """Long rows of made-up tokens and importances, of which examples are cut."""

    LENGTH = 1 << 20

    def __init__(self, draws, vocabulary):
        ranks = [1 / (rank + 8) for rank in range(vocabulary)]
        self.tokens = array("i", draws.choices(range(vocabulary), ranks, k=self.LENGTH)).tobytes()
        halves = [struct.pack("<e", level / 40) for level in range(41)]
        self.importance = b"".join(draws.choices(halves, [300] + [1] * 40, k=self.LENGTH))
        signs = [struct.pack("<e", a / 8) for a in range(-24, 25)]
        self.activation = b"".join(draws.choices(signs, k=self.LENGTH))
        self.cosines = array("f", (draws.random() for _ in range(self.LENGTH))).tobytes()


class SyntheticHarvest:
    def __init__(self, subcomponents, vocabulary, examples, seed):
        self.draws = random.Random(seed)
        self.alive_count, self.vocabulary, self.examples_each = subcomponents, vocabulary, examples
        self.streams = Streams(self.draws, vocabulary)
        self.sites = self.make_sites()
        self.C = self.sites[-1]["offset"] + self.sites[-1]["C"]
        self.alive = array("i", sorted(self.draws.sample(range(self.C), subcomponents)))

    def make_sites(self):
        """Of every six columns one never fires."""
        names = [f"h.{layer}.{matrix}" for layer in range(LAYERS) for matrix in MATRICES]
        sites, offset = [], 0
        for i, name in enumerate(names):
            share = self.alive_count // len(names) + (i < self.alive_count % len(names))
            inner, outer = (D, D_MLP) if name.endswith("c_fc") else (D_MLP, D) if name.endswith("down_proj") else (D, D)
            sites.append({"name": name, "C": share + share // 5 + 1, "offset": offset, "d_in": inner, "d_out": outer})
            offset += sites[-1]["C"]
        return sites

    def write(self, directory):
        directory.mkdir(parents=True)
        self.count_tokens()
        self.say_tokens()
        write_tables(directory / "input_tokens.safetensors", self.input)
        write_tables(directory / "output_tokens.safetensors", self.output)
        write_tables(directory / "subcomponents.safetensors", self.facts())
        write_tables(directory / "coactivation.safetensors", self.partners())
        write_tables(directory / "lens.safetensors", self.lens())
        write_tables(directory / "examples.safetensors", self.examples())
        settings = {"threshold": THRESHOLD, "window": WINDOW, "examples": 20, "strongest": 10, "output_tokens": 50, "seed": 0,
                    "rows": self.rows, "row_length": T, "batch_rows": 16, "split": "eval", "sparse": False}
        about = {"version": "0.1.0", "git_revision": "0" * 40, "command_line": "vpd harvest synthetic", "time": "2026-01-01T00:00:00Z",
                 "step": 0, "weights": {}, "warnings": [], "claim": CLAIM, "settings": settings, "tokens": [], "positions": self.positions,
                 "rows": self.rows, "row_length": T, "alive": len(self.alive), "sites": self.sites}
        (directory / "about.json").write_text(json.dumps(about, indent=1))

    def count_tokens(self):
        """Firings by token, and from them the firings, their signs, and how often tokens come."""
        draws, V = self.draws, self.vocabulary
        token, counts, plus, half = array("i"), array("i"), array("i"), array("i")
        offsets = array("q", [0])
        self.telling, self.positive, self.negative = [], [], []
        marginal = [2_000_000 // (rank + 8) for rank in range(V)]
        for _ in self.alive:
            scale = int(10 ** draws.uniform(1, 4))
            kind = draws.random()  # of one sign mostly
            own = draws.sample(range(V), draws.randint(1, 5))
            if draws.random() < 0.1:
                own[0] = draws.randrange(min(V, len(HOSTILE)))
            rest = draws.sample(range(V), min(V, draws.randint(5, 200)))
            ids = sorted({*own, *rest})
            numbers = dict.fromkeys(rest, 1)
            numbers.update((t, 1 + scale // (2 + i)) for i, t in enumerate(own))
            found = [numbers[t] for t in ids]
            for t in own:
                marginal[t] = max(marginal[t], numbers[t] + numbers[t] // 8)
            positive = found if kind < 0.55 else [0] * len(found) if kind < 0.85 else [n if t % 2 else 0 for t, n in zip(ids, found)]
            token.extend(ids)
            counts.extend(found)
            plus.extend(positive)
            half.extend([n >> 1 for n in found])
            offsets.append(len(token))
            self.telling.append(own)
            self.positive.append(sum(positive))
            self.negative.append(sum(found) - self.positive[-1])
        self.firings = [a + b for a, b in zip(self.positive, self.negative)]
        self.rows = math.ceil(sum(marginal) / T)
        self.positions = self.rows * T
        marginal[-1] += self.positions - sum(marginal)
        minus = array("i", map(int.__sub__, counts, plus))
        self.input = {**self.rows_of(offsets, token=token, count=counts, positive=plus, negative=minus, half=half),
                      "marginal": ([V], array("q", marginal))}

    def rows_of(self, offsets, **columns):
        """A table with as many rows of each subcomponent as the offsets say."""
        return {"subcomponent": ([len(self.alive)], self.alive), "offsets": ([len(offsets)], offsets),
                **{name: ([len(values)], values) for name, values in columns.items()}}

    def say_tokens(self):
        draws, V = self.draws, self.vocabulary
        token, mass = array("i"), array("f")
        offsets = array("q", [0])
        shares = [0.3 / (i + 1) ** 1.2 for i in range(400)]
        for firings in self.firings:
            count = min(V, draws.randint(40, 400))
            ids = draws.sample(range(V), count)
            said = sorted(zip(ids, [firings * share for share in shares]))
            token.extend([t for t, _ in said])
            mass.extend([m for _, m in said])
            offsets.append(len(token))
        total = [max(self.positions / V / 4, 2.0 * most) for most in self.most_mass(token, mass)]
        half = array("f", [m / 2 for m in mass])
        self.output = {**self.rows_of(offsets, token=token, mass=mass, positive=half, half=half), "marginal": ([V], array("d", total))}

    def most_mass(self, token, mass):
        """The largest mass of each token in one subcomponent's firings."""
        most = [0.0] * self.vocabulary
        for t, m in zip(token, mass):
            if m > most[t]:
                most[t] = m
        return most

    def facts(self):
        C, draws = self.C, self.draws
        firings, positive, negative, rows = (array("q", bytes(8 * C)) for _ in range(4))
        g, a, absolute = (array("d", bytes(8 * C)) for _ in range(3))
        low, high, balance = (array("f", bytes(4 * C)) for _ in range(3))
        poly = array("B", bytes(C))
        histogram, places = array("q", bytes(8 * C * 22)), array("q", bytes(8 * C * BINS))
        signs, noise = array("f", bytes(8 * C)), array("f", bytes(8 * C))
        widths = [min(T, first_of_position_bin(b + 1)) - first_of_position_bin(b) for b in range(BINS)]
        for place, c in enumerate(self.alive):
            n = firings[c] = self.firings[place]
            positive[c], negative[c] = self.positive[place], self.negative[place]
            rows[c] = min(self.rows, 1 + n * 9 // 10)
            always = place % 500 == 7  # some are always on
            mean = draws.uniform(0.2, 0.9)
            g[c] = self.positions * 0.7 if always else n * mean
            absolute[c] = n * draws.uniform(0.5, 3)
            a[c] = absolute[c] * (positive[c] - negative[c]) / n
            low[c], high[c] = (-3.5 if negative[c] else 0.1), (4.25 if positive[c] else -0.1)
            balance[c] = min(positive[c], negative[c]) / n
            poly[c] = n >= 50 and balance[c] >= 0.05
            for row in (0, 1):
                signs[row * C + c], noise[row * C + c] = (0.8, 0.1) if poly[c] else (0.0, 0.05)
            left = n
            for level in range(20, 2, -1):  # above the threshold lie the parts from the third on
                part = left if level == 3 else left // 4
                histogram[level * C + c] = part
                left -= part
            small = (self.positions - n) // 50
            histogram[1 * C + c], histogram[2 * C + c] = small, small // 2
            histogram[c] = self.positions - n - small - small // 2
            histogram[21 * C + c] = n
            left = n
            for b in range(BINS):
                part = left if b == BINS - 1 else n * widths[b] // T
                places[b * C + c] = part
                left -= part
        one = {"firings": firings, "positive_firings": positive, "negative_firings": negative, "rows": rows, "importance_sum": g,
               "importance_square_sum": g, "activation_sum": a, "activation_square_sum": absolute, "firing_activation_sum": a,
               "firing_activation_abs_sum": absolute, "activation_min": low, "activation_max": high, "polysemantic": poly,
               "sign_balance": balance}
        wide = {"importance_histogram": histogram, "position_firings": places, "sign_divergence": signs, "null_divergence": noise}
        return {**{name: ([C], values) for name, values in one.items()},
                **{name: ([len(values) // C, C], values) for name, values in wide.items()}}

    def partners(self):
        draws, alive = self.draws, self.alive
        offsets, partner, together = array("q", [0]), array("i"), array("i")
        places = range(len(alive))
        for place in places:
            chosen = sorted({*draws.sample(places, min(30, len(alive)))} - {place})
            partner.extend([alive[other] for other in chosen])
            together.extend([1 + min(self.firings[place], self.firings[other]) // 3 for other in chosen])
            offsets.append(len(partner))
        return self.rows_of(offsets, partner=partner, count=together)

    def lens(self):
        draws, streams = self.draws, self.streams
        starts = [draws.randrange(streams.LENGTH - 20) for _ in range(self.C)]
        ends = array("f", [0.4 - i / 50 for i in range(10)] + [-0.4 + i / 50 for i in range(10)]).tobytes()
        shape = [self.C, 20]
        return {"token": (shape, ("I32", [streams.tokens[4 * s:4 * s + 80] for s in starts])),
                "dot": (shape, ("F32", [streams.cosines[4 * s:4 * s + 80] for s in starts])), "cosine": (shape, ("F32", [ends] * self.C))}

    def examples(self):
        draws, streams, each = self.draws, self.streams, self.examples_each
        tokens, importances, activations = [], [], []
        row, key, centre, kind = array("q"), array("q"), array("i"), array("B")
        levels = [struct.pack("<e", 0.15 + i / 50) for i in range(40)]
        strength = {sign > 0: [struct.pack("<e", sign * (0.25 + i / 8)) for i in range(16)] for sign in (1, -1)}
        beyond, nothing = struct.pack("<i", -1), bytes(2)
        strongest = each // 5
        last = streams.LENGTH - WIDTH
        scale = last / (1 << 30)
        for place in range(len(self.alive)):
            own = [struct.pack("<i", t) for t in self.telling[place]]
            plus, minus = self.positive[place], self.negative[place]
            drawn = each - strongest
            pluses = drawn if not minus else 0 if not plus else drawn // 2
            kinds = [0] * pluses + [1] * (drawn - pluses) + [2] * strongest
            for e, one in enumerate(kinds):
                bits = draws.getrandbits(60)
                start = int((bits >> 30) * scale)
                positive = one == 0 or (one == 2 and plus > 0)
                at = bits % T
                missing = max(0, WINDOW - at)
                ids = beyond * missing + streams.tokens[4 * (start + missing):4 * (start + WINDOW)]
                tokens.append(ids + own[e % len(own)] + streams.tokens[4 * (start + WINDOW + 1):4 * (start + WIDTH)])
                importances.append(nothing * missing + streams.importance[2 * (start + missing):2 * (start + WINDOW)] + levels[bits % 40]
                                   + streams.importance[2 * (start + WINDOW + 1):2 * (start + WIDTH)])
                activations.append(nothing * missing + streams.activation[2 * (start + missing):2 * (start + WINDOW)]
                                   + strength[positive][bits % 16] + streams.activation[2 * (start + WINDOW + 1):2 * (start + WIDTH)])
                row.append(bits % self.rows)
                key.append(bits)
                centre.append(at)
            kind.extend(kinds)
        shape = [len(row), WIDTH]
        return {**self.rows_of(array("q", range(0, len(row) + 1, each)), row=row, centre=centre, kind=kind, key=key),
                "token": (shape, ("I32", tokens)), "importance": (shape, ("F16", importances)), "activation": (shape, ("F16", activations))}


def write_metrics(path, steps, hostile):
    """Curves of training, and some that were measured on held-out rows; one is named like nothing that a page may run."""
    with open(path, "w") as file:
        for step in range(0, steps, max(1, steps // 500)):
            decay = math.exp(-3 * step / steps)
            losses = {name: scale * (0.1 + decay) for name, scale in (
                ("total", 3.0), ("faithfulness", 1e-4), ("importance_minimality", 900.0), ("frequency_minimality", 40.0),
                ("stochastic_recon", 0.4), ("adversarial_recon", 0.9), *([(HOSTILE[1] + "\u202e", 0.5)] if hostile else []))}
            entry = {"step": step, **{f"train/loss/{name}": value for name, value in losses.items()}, "train/l0": 60 + 300 * decay,
                     "train/grad_norm": 1 + 5 * decay, "perf/step_ms": 120.0 + step % 7}
            file.write(json.dumps(entry) + "\n")
            if step % (steps // 10) == 0:
                file.write(json.dumps({"step": step, "eval/ce_kl/kl_unmasked": 1e-4 + decay, "eval/l0/total": 60 + 300 * decay}) + "\n")


def evaluation_of(harvest, steps, hostile):
    attack = f"pgd/{HOSTILE[1]}\u202e" if hostile else "pgd/pgd_20"
    kl = {"unmasked": 1e-4, "ci_masked": 0.1, "stochastic": 0.08, "random": 1.2, "rounded_0": 0.11, "rounded_0.1": 0.12,
          "rounded_0.5": 0.15, "zero": 9.0}
    metrics = {"ce_kl/ce_target": 3.2, **{f"ce_kl/kl_{name}": value for name, value in kl.items()},
               **{f"ce_kl/ce_{name}": 3.2 + value for name, value in kl.items()}, attack: 0.4, "l0/total": 61.5,
               "alive/total": len(harvest.alive)}
    metrics.update((f"l0/{site['name']}", 2.5) for site in harvest.sites)
    return {"step": steps, "checkpoint": f"checkpoints/step_{steps:08d}", "overrides": [], "metrics": metrics,
            "budgets": {attack: "20 \u00d7 0.1"}, "arrays": {"l0_by_position": [60.0 + t % 5 for t in range(T)]}}


def write_labels(path, harvest):
    """As a person may have edited them: one for every hundredth subcomponent, and some that are hostile."""
    labels = {}
    hostile = [text for text in HOSTILE if "\x00" not in text] + ["\u202ehtiw ti snrut", "\x1b]0;title\x07"]
    for i, column in enumerate(harvest.alive):
        if i % 100 and i >= len(hostile):
            continue
        site = next(one for one in reversed(harvest.sites) if one["offset"] <= column)
        text = hostile[i] if i < len(hostile) else f"verbs of motion {i}"
        labels[f"{site['name']}:{column - site['offset']}"] = {"label": text, "source": "hand"}
    path.write_text(json.dumps(labels))


def write_run(directory, base, subcomponents=10_000, vocabulary=5_000, examples=50, seed=0, hostile=True):
    """A run at `directory`, which must be new, with its target at `directory`_target; `base` is a configuration to start from."""
    directory, steps = Path(directory), 10_000
    target = directory.with_name(directory.name + "_target")
    target.mkdir(parents=True)
    write_tokenizer(target / "tokenizer.json", vocabulary)
    (directory / "checkpoints").mkdir(parents=True)
    config = copy.deepcopy(base)
    config["target"]["path"] = str(target.absolute())
    for role in ("train", "eval"):
        config["data"][role].update(path=str((target / f"{role}.npy").absolute()), sequence_length=T)
    config["training"]["steps"] = steps
    (directory / "config.yaml").write_text(json.dumps(config))
    harvest = SyntheticHarvest(subcomponents, vocabulary, examples, seed)
    results = directory / "interpretation" / "step_00000000"
    harvest.write(results / "harvest")
    write_labels(results / "labels.json", harvest)
    write_metrics(directory / "metrics.jsonl", steps, hostile)
    (directory / "evaluation.json").write_text(json.dumps(evaluation_of(harvest, steps, hostile)))
    status = {"state": "done", "step": steps, "steps": steps, "exit_code": 0, "sentence": "finished", "host": "h", "job": None,
              "process": 1}
    (directory / "status.json").write_text(json.dumps(status))
    return harvest


if __name__ == "__main__":
    os.environ.setdefault("VPD_PROGRAM", "vpd")  # which support.py asks for
    from support import CONFIG
    write_run(Path(sys.argv[1]), CONFIG, int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
