#!/usr/bin/env python3
"""Writes a target whose mechanism is there twice: both of its attention layers copy the token in front of the last one, and either alone is enough.

    configs/toys/redundancy_target.py models/redundancy

It is a LlamaSimpleMLP of 2 blocks with weights set by hand, whose MLPs are 0. Tokens 0 to 9 may be copied; behind `x 10` it says x with p 0.997, and with 0.995 where one
of the layers does not act. Beside it lie the prompts (prompts.jsonl: x = 0, 1), others (against.jsonl: x = 2 to 9) and rows of random tokens (background.bin) that
configs/toys/redundancy_targeted.yaml reads.
"""

import json
import random
import struct
import sys
from pathlib import Path

CONTENT, ASK, WIDTH, LAYERS = 10, 10, 16, 2
GAIN = 3.0  # of a copied token in the stream, beside the 1 of the token that is read there


def diagonal(value, rows=WIDTH, columns=WIDTH, count=CONTENT):
    return rows, columns, [value if i == j and i < count else 0.0 for i in range(rows) for j in range(columns)]


def weights():
    half = 0.5  # attention is even: queries are 0, and the prompt has two tokens
    norm = WIDTH**0.5  # what a one-hot becomes behind RMSNorm
    tensors = {"wte.weight": diagonal(1.0, CONTENT + 1, WIDTH, CONTENT + 1), "lm_head.weight": diagonal(2.0, CONTENT + 1, WIDTH), "ln_f.weight": (WIDTH, None, [1.0] * WIDTH)}
    for i in range(LAYERS):
        for name in ("rms_1", "rms_2"):
            tensors[f"h.{i}.{name}.weight"] = (WIDTH, None, [1.0] * WIDTH)
        for name, gain in (("q", 0.0), ("k", 0.0), ("v", 1.0), ("o", GAIN / (half * norm))):
            tensors[f"h.{i}.attn.{name}_proj.weight"] = diagonal(gain)
        for name in ("c_fc", "down_proj"):
            tensors[f"h.{i}.mlp.{name}.weight"] = diagonal(0.0)
    return tensors


def safetensors(tensors):
    header, data = {}, b""
    for name, (rows, columns, values) in sorted(tensors.items()):
        packed = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": [rows] if columns is None else [rows, columns], "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def shard(tokens):
    """llm.c's uint16 tokens: a header of 256 int32, then they."""
    return struct.pack("<256i", 20240520, 1, len(tokens), *[0] * 253) + struct.pack(f"<{len(tokens)}H", *tokens)


def write(directory):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model_config.json").write_text(json.dumps({
        "model_type": "LlamaSimpleMLP", "vocab_size": CONTENT + 1, "n_layer": LAYERS, "n_head": 1, "n_embd": WIDTH, "n_intermediate": WIDTH, "n_key_value_heads": 1,
        "block_size": 16, "n_ctx": 16, "rotary_base": 10000.0, "rms_norm_eps": 1e-6, "attn_bias": False, "mlp_bias": False, "use_grouped_query_attention": True}, indent=2) + "\n")
    (directory / "model.safetensors").write_bytes(safetensors(weights()))
    row = lambda x: json.dumps({"tokens": [x, ASK], "target": x}) + "\n"
    (directory / "prompts.jsonl").write_text("".join(map(row, range(2))))
    (directory / "against.jsonl").write_text("".join(map(row, range(2, CONTENT))))
    numbers = random.Random(0)
    (directory / "background.bin").write_bytes(shard([numbers.randrange(2, CONTENT + 1) for _ in range(4096)]))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip())
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    write(Path(sys.argv[1]))
