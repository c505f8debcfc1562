#!/usr/bin/env python3
"""Make the prompts of the case studies from held-out verses.

    tools/case_study/make_prompts.py --out configs/case_studies/prompts

writes one file of JSON lines for each behaviour, {"prompt", "target", "group"}, and other.jsonl, prompts that a word goes on from. Nothing is
chosen by hand: of all places of val.bin where the behaviour's token comes next, --most are drawn by --seed. A prompt is a verse from its
beginning to that place. Running it again gives the same bytes.
"""

import argparse
import json
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from case_study.tokens import Tokens, read_shard

CONFIGURATION = pathlib.Path(__file__).resolve().parents[2] / "configs" / "case_studies"
# A prompt has to fit into the 64 tokens of a row in the smaller vocabulary, too.
FEWEST_TOKENS, MOST_CHARACTERS = 5, 120

SAID = {"and": " and", "or": " or", "but": " but", "very": " very", "comma": ",", "colon": ":", "full_stop": ".", "verse_end": "\n"}
ADVERBS = (" very", " exceeding", " greatly")


def places(verses, wanted):
    """(verse, number of tokens before the place) of every place in the verses, as lists of token texts, at which `wanted` says yes."""
    for verse in verses:
        for end in range(FEWEST_TOKENS, len(verse)):
            if sum(map(len, verse[:end])) <= MOST_CHARACTERS and wanted(verse, end):
                yield verse, end


def prompts(found, most, generator, group):
    found = list(found)
    chosen = sorted(generator.sample(range(len(found)), min(most, len(found))))
    for verse, end in (found[i] for i in chosen):
        yield {"prompt": "".join(verse[:end]), "target": verse[end], "group": group(verse, end)}


def after(verse, end):
    """What a conjunction or a boundary comes after."""
    previous = verse[end - 1]
    return "after a mark" if previous in (",", ":", ";", "?", ".") else "after a word"


def is_plain_word(text):
    return text.startswith(" ") and text[1:].isalpha() and text not in SAID.values() and text not in ADVERBS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="directory for the files")
    parser.add_argument("--most", type=int, default=60, help="prompts of a file (default: 60; other.jsonl has twice as many)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    tokens = Tokens(CONFIGURATION / "tokenizer.json")
    verses, verse = [], []
    for number in read_shard(CONFIGURATION / "val.bin"):
        verse.append(tokens.texts[number])
        if verse[-1] == "\n":
            verses.append(verse)
            verse = []

    # name: (where, how many, group)
    files = {name: (lambda verse, end, text=text: verse[end] == text, arguments.most, after) for name, text in SAID.items()}
    files["after_adverb"] = (lambda verse, end: verse[end - 1] in ADVERBS, arguments.most, lambda verse, end: verse[end - 1].strip())
    files["other"] = (lambda verse, end: is_plain_word(verse[end]) and verse[end - 1] not in ADVERBS, 2 * arguments.most, after)
    for name, (where, most, group) in files.items():
        generator = random.Random(f"{arguments.seed} {name}")  # of its own, so that one file does not hang on another
        lines = list(prompts(places(verses, where), most, generator, group))
        if name == "other":  # what stays as it is: the whole distribution counts, and no single token of it
            lines = [{"prompt": line["prompt"]} for line in lines]
        (arguments.out / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        print(f"{name}.jsonl: {len(lines)} prompts")


if __name__ == "__main__":
    main()
