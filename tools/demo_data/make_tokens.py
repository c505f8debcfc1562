#!/usr/bin/env python3
"""Make the demo's tokenizer and token shards from Debian's public-domain King James text.

    apt-get install bible-kjv
    python3 -m venv build/tokens && build/tokens/bin/pip install tokenizers==0.23.3
    build/tokens/bin/python tools/demo_data/make_tokens.py --out configs/demo
    build/tokens/bin/python tools/demo_data/make_tokens.py --vocab-size 4096 --out configs/case_studies

writes tokenizer.json (byte-level BPE), train.bin and val.bin (llm.c shards of uint16). Running it again
gives the same bytes. The split is by blocks of 100 verses, every twentieth of which is held out: a
validation text from all over the book and yet none of whose passages was seen in training. The
tokenizer learns from the training blocks alone.
"""

import argparse
import array
import pathlib
import re
import subprocess
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VERSES = 31102
BLOCK = 100
HELD_OUT_EVERY = 20

SHARD_MAGIC = 20240520
SHARD_VERSION = 1
SHARD_HEADER_INTS = 256


def read_verses() -> list[str]:
    """The verses in order, without their references ("1Chr3:16 ")."""
    printed = subprocess.run(
        ["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True, encoding="ascii"
    ).stdout
    verses = []
    for line in printed.splitlines():
        match = re.fullmatch(r"[0-9]?[A-Za-z]+[0-9]+:[0-9]+ (\S.*)", line.rstrip())
        if match is None:
            sys.exit(f"make_tokens: expected '<Book><chapter>:<verse> <text>' from bible, found {line!r}")
        verses.append(match.group(1))
    if len(verses) != VERSES:
        sys.exit(f"make_tokens: expected {VERSES} verses from bible, found {len(verses)}")
    return verses


def split(verses: list[str]) -> tuple[list[str], list[str]]:
    """Training and held-out blocks, each the text of BLOCK verses, one verse a line."""
    blocks = ["".join(verse + "\n" for verse in verses[i : i + BLOCK]) for i in range(0, len(verses), BLOCK)]
    train = [block for i, block in enumerate(blocks) if i % HELD_OUT_EVERY != HELD_OUT_EVERY - 1]
    held_out = [block for i, block in enumerate(blocks) if i % HELD_OUT_EVERY == HELD_OUT_EVERY - 1]
    return train, held_out


def train_tokenizer(blocks: list[str], vocabulary: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    # All 256 bytes are in the alphabet, so that any prompt, not only this text, can be encoded.
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(blocks, trainer)
    if tokenizer.get_vocab_size() != vocabulary:
        sys.exit(f"make_tokens: expected {vocabulary} tokens, the trainer made {tokenizer.get_vocab_size()}")
    return tokenizer


def write_shard(path: pathlib.Path, tokens: list[int]) -> None:
    header = array.array("i", [SHARD_MAGIC, SHARD_VERSION, len(tokens)] + [0] * (SHARD_HEADER_INTS - 3))
    body = array.array("H", tokens)
    if sys.byteorder != "little":
        header.byteswap()
        body.byteswap()
    path.write_bytes(header.tobytes() + body.tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="directory for the three files")
    parser.add_argument("--vocab-size", type=int, default=1024, help="tokens of the tokenizer (default: 1024, the demo's)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    train_blocks, held_out_blocks = split(read_verses())
    tokenizer = train_tokenizer(train_blocks, arguments.vocab_size)
    (arguments.out / "tokenizer.json").write_text(tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")
    for name, blocks in (("train.bin", train_blocks), ("val.bin", held_out_blocks)):
        text = "".join(blocks)
        tokens = tokenizer.encode(text).ids
        if tokenizer.decode(tokens) != text:
            sys.exit(f"make_tokens: {name} does not decode to its text")
        write_shard(arguments.out / name, tokens)
        print(f"{name}: {len(blocks)} blocks, {len(text)} characters, {len(tokens)} tokens")


if __name__ == "__main__":
    main()
