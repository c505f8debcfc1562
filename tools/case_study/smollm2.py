"""The studies that fit a real model (SmolLM2-135M): what `vpd explain` found on prompts of two classes, put to held-out sentences."""

import collections
import itertools
import json
import random

from .studies import KEPT, listed
from .tokens import read_shard

# What is explained, by class: the prompt, and what the model says next.
PROMPTS = {
    "conjunctions": [("It is neither hot", " nor"), ("This is either true", " or"), ("He is not only smart", " but")],
    "adverbs": [("Thank you very", " much"), ("Thank you so", " much")],
}
# Nothing was trained on these. Each goes on as the prompt of its class with that word does; those of a word have as many tokens each.
HELD_OUT = {
    " nor": ["She was neither rich", "It was neither good", "They are neither young", "I am neither happy", "We were neither hot", "He is neither bad"],
    " or": ["She is either right", "He was either lost", "It is either good", "They are either dead", "It was either bad", "You are either in"],
    " but": ["She is not only kind", "It was not only fast", "They were not only late", "He was not only tired", "We are not only friends",
             "It is not only big"],
    " much": ["We thank you very", "I thank you so", "I love you very", "I miss you so", "They liked it very", "She loves him so"],
}
WRITERS = ("o_proj", "down_proj")  # of the residual stream
MOST_WRITERS = 3
BOUNDARIES = [",", ".", ":", "\n"]
OTHERS = 4
NEIGHBOURS = 10


def numbered_prompts():
    """(class, prompt, continuation) in the order in which they are explained."""
    return [(name, *one) for name, those in PROMPTS.items() for one in those]


# ---- One subcomponent for a class ----


def difference(one, members):
    """The KL behind that one of these prompts where taking it out does least, less the KL behind that other one where it does most."""
    return min(one["kl"][i] for i in members) - max(kl for i, kl in enumerate(one["kl"]) if i not in members)


def stands_for(subcomponents, members):
    """The subcomponent that stands for these prompts best."""
    best = max(subcomponents, key=lambda one: difference(one, members))
    return {"key": best["key"], "difference": difference(best, members), "kl": best["kl"], "elsewhere_99": best["kl_99"]}


def one_for_all(explained):
    """Claim: one subcomponent stands for a class. The class against every other choice of as many of the prompts."""
    found, prompts = {}, numbered_prompts()
    for name in PROMPTS:
        members = tuple(i for i, (of, *_) in enumerate(prompts) if of == name)
        others = [stands_for(explained["subcomponents"], choice)["difference"]
                  for choice in itertools.combinations(range(len(prompts)), len(members)) if choice != members]
        best = stands_for(explained["subcomponents"], members)
        found[name] = {**best, "others": others, "larger": sum(other >= best["difference"] for other in others)}
    return found


# ---- Other sentences ----


def written(directory, word):
    """The file of the held-out sentences of a word."""
    path = directory / f"held_out_{word.strip()}.jsonl"
    path.write_text("".join(json.dumps({"prompt": sentence}) + "\n" for sentence in HELD_OUT[word]))
    return path


def held_out(program, run, explained, directory, controls):
    """Each removal, put to sentences that nothing was trained on, beside as many random subcomponents of the same matrices."""
    found = []
    files = {word: written(directory, word) for word in HELD_OUT}
    for removal in explained["removals"]:
        prompt = explained["prompts"][removal["prompt"]]
        for word, path in files.items():
            ablated = [part for key in removal["keys"] for part in ("--ablate", key)]
            asked = program.ask(f"held-{removal['prompt']}-{word.strip()}", "edit", run, *ablated, "--set", f"data.eval.path={path}", "--wanted", word,
                                "--controls", controls, "--slug", "held_out")
            found.append({"removed": prompt["text"] + prompt["continuation"], "keys": removal["keys"], "word": word, "command": asked["command"],
                          **{name: asked["answer"][name] for name in KEPT if asked["answer"].get(name) is not None}})
    return found


# ---- A multiplier writes along the stream ----


def writers(explained, members):
    """Those that write the residual stream, the most specific to these prompts first."""
    found = (one for one in explained["subcomponents"] if any(name in one["key"] for name in WRITERS))
    return sorted(found, key=lambda one: difference(one, members), reverse=True)[:MOST_WRITERS]


def along_stream(program, run, explained, directory, controls):
    found = []
    path = written(directory, " much")
    members = [i for i, (name, *_) in enumerate(numbered_prompts()) if name == "adverbs"]
    for one in writers(explained, members):
        asked = program.ask(f"stream-{one['key']}", "edit", run, "--ablate", one["key"], "--along-stream", "--set", f"data.eval.path={path}",
                            "--controls", controls, "--slug", "along_stream")
        found.append({"key": one["key"], "kl": one["kl"], "command": asked["command"],
                      **{name: asked["answer"][name] for name in KEPT if asked["answer"].get(name) is not None}})
    return found


# ---- A boundary stops attention ----


def across(program, run, tokens, sampled, length, any_key, seed):
    """What the target attends to across a mark, against the same across other tokens that come about as often in rows that it sampled itself.
    (Any edit will do: what it is before the edit is read.)"""
    counts = collections.Counter(read_shard(sampled))
    marks = {mark: tokens.number(mark) for mark in BOUNDARIES}
    generator, found = random.Random(seed), {}
    for mark, number in marks.items():
        near = sorted((other for other in counts if other not in marks.values()), key=lambda other: (abs(counts[other] - counts[number]), other))
        mass = {}
        for one in [number, *sorted(generator.sample(near[:NEIGHBOURS], OTHERS))]:
            asked = program.ask(f"across-{one}", "edit", run, "--ablate", any_key, "--across", listed([one]), "--controls", 0, "--slug", "across",
                                "--set", f"data.eval={{type: tokens, path: {sampled}, sequence_length: {length}}}")
            mass[one] = asked["answer"]["attention"]["before"]
        found[mark] = {"count": counts[number], "mark": mass.pop(number), "others": {tokens.texts[other]: one["mean"] for other, one in mass.items()}}
    return found

