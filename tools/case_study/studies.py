"""The studies: which subcomponents fire at a class of tokens, which say them, and what is lost without each."""

import array
import collections
import random
import struct

from .tokens import SHARD_HEADER_BYTES, read_shard

# What a subcomponent is looked for in, by its role: the sites, and whether its own tokens or what the model says there counts.
ROLES = {
    "query": ("h.*.attn.q_proj", "input"),
    "key": ("h.*.attn.k_proj", "input"),
    "value": ("h.*.attn.v_proj", "input"),
    "up": ("h.*.mlp.c_fc", "input"),
    "down": ("h.*.mlp.down_proj", "input"),
    "says, up": ("h.*.mlp.c_fc", "output"),
    "says, down": ("h.*.mlp.down_proj", "output"),
}
WRITERS = "h.*.attn.o_proj,h.*.mlp.down_proj"  # of the residual stream
FEWEST_FIRINGS = 50
LEAST_F1 = 0.05  # below it, a subcomponent has nothing to do with a word
RANDOM_CLASSES = 20
OTHER_BOUNDARIES = 5
NEIGHBOURS = 10  # a random class takes the place of each token by one of so many of the nearest count


class Study:
    def __init__(self, name, words, behaviours, unlearned):
        self.name, self.words, self.behaviours, self.unlearned = name, words, behaviours, unlearned


STUDIES = [
    Study("conjunctions", [" and", " or", " but"], ["and", "or", "but"], "and"),
    Study("adverbs", [" very", " exceeding", " greatly"], ["very", "after_adverb"], "after_adverb"),
    Study("boundaries", [",", ":", ".", "\n"], ["comma", "colon", "full_stop", "verse_end"], "comma"),
]


class Subject:
    """A run and what belongs to it."""

    def __init__(self, program, run, directory, tokens, positions, settings):
        self.program, self.run, self.tokens, self.positions, self.settings = program, run, tokens, positions, settings
        self.train = directory / "train.bin"
        self.counts = collections.Counter(read_shard(self.train))

    def numbered(self, words):
        return [self.tokens.number(word) for word in words]


def listed(numbers):
    """Tokens by number, since a comma between tokens would be read as their separator."""
    return ",".join(f"#{number}" for number in numbers)


def ranking(subject, name, numbers, sites, side, top):
    """The best subcomponents by F1 that fire often enough, and not nearly everywhere."""
    found = subject.program.ask(name, "find", subject.run, "--tokens", listed(numbers), "--side", side, "--sites", sites, "--min-firings",
                                FEWEST_FIRINGS, "--top", top)
    return [one for one in found["answer"].get("found", []) if not one["always_on"]], found["command"]


def short(one):
    return {name: one[name] for name in ("key", "f1", "hit", "cover", "firings")}


# ---- Who fires ----


def who_fires(subject, study):
    """For the class and for each word of it, the best subcomponent in each role; and how well one subcomponent stands for the class."""
    classes = {"all": study.words, **{word: [word] for word in study.words}}
    best = {}
    for label, words in classes.items():
        best[label] = {}
        for role, (sites, side) in ROLES.items():
            found, command = ranking(subject, f"find-{study.name}-{'_'.join(map(str, subject.numbered(words)))}-{role}",
                                     subject.numbered(words), sites, side, 5)
            if found and found[0]["f1"] >= LEAST_F1:
                best[label][role] = {**short(found[0]), "command": command}
    return {"best": best, "one_for_all": one_for_all(subject, study)}


def firings_at(subject, number):
    """Of every subcomponent: where it fires at this token."""
    found = subject.program.ask(f"word-{number}", "find", subject.run, "--tokens", listed([number]), "--min-firings", FEWEST_FIRINGS, "--top", 100000)
    return {one["key"]: one for one in found["answer"].get("found", [])}


def best_for_all(subject, numbers):
    """The subcomponent that tells a class best from everything else: with the largest difference of the part of its least covered word's
    occurrences at which it fires, and the part of all other positions at which it does. Unlike F1, this does not hang on how common a word is."""
    each = [firings_at(subject, number) for number in numbers]
    best = None
    for key in set.intersection(*map(set, each)):
        of_words = [words[key] for words in each]
        cover = [one["cover"] for one in of_words]
        firings, positions = of_words[0]["firings"], of_words[0]["firings"] / of_words[0]["density"]
        at_words = sum(one["hit"] for one in of_words) * firings
        words = sum(one["hit"] * firings / one["cover"] for one in of_words)
        elsewhere = (firings - at_words) / (positions - words)
        if best is None or (min(cover) - elsewhere, key) > (best["difference"], best["key"]):
            best = {"key": key, "difference": min(cover) - elsewhere, "cover": cover, "elsewhere": elsewhere}
    return best or {"key": None, "difference": 0.0, "cover": [0.0] * len(numbers), "elsewhere": 0.0}


def near_counts(subject, number, without):
    """All tokens but these, those first that come about as often as `number`."""
    return sorted((other for other in subject.counts if other not in without),
                  key=lambda other: (abs(subject.counts[other] - subject.counts[number]), other))


def one_for_all(subject, study):
    """Claim: one subcomponent stands for the class. How well the best one does, against the best ones for random classes of the same size, whose
    words come about as often."""
    numbers = subject.numbered(study.words)
    generator = random.Random(f"{subject.settings.seed} {study.name}")
    random_classes = []
    for _ in range(RANDOM_CLASSES):
        chosen = []
        for number in numbers:
            chosen.append(generator.choice(near_counts(subject, number, [*numbers, *chosen])[:NEIGHBOURS]))
        random_classes.append(best_for_all(subject, chosen)["difference"])
    best = best_for_all(subject, numbers)
    return {**best, "cover": dict(zip(study.words, best["cover"])), "random_classes": random_classes,
            "above": sum(best["difference"] > other for other in random_classes) / len(random_classes)}


# ---- What is lost without it ----


def rows_with(subject, study):
    """A shard of the rows of training text that hold a word of a rare class: held-out text has too few."""
    length, numbers = subject.settings.row, set(subject.numbered(study.words))
    tokens, rows = read_shard(subject.train), array.array("H")
    for start in range(0, len(tokens) - length + 1, length):
        row = tokens[start:start + length]
        if numbers & set(row):
            rows += row
    path = subject.program.answers / subject.run.name / f"{study.name}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack("<3i", 20240520, 1, len(rows))
    path.write_bytes(header.ljust(SHARD_HEADER_BYTES, b"\0") + struct.pack(f"<{len(rows)}H", *rows))
    return path


KEPT = ("refused", "wanted", "controls", "positions", "figures", "specificity", "mechanism", "attention", "sentence", "warnings")


def edit(subject, name, keys, *arguments):
    """Takes subcomponents out on held-out text, beside controls."""
    words = [word for key in keys for word in ("--ablate", key)]
    asked = subject.program.ask(f"edit-{name}", "edit", subject.run, *words, "--controls", subject.settings.controls, "--measure-positions",
                                subject.positions, "--slug", f"case_study-{name}", *arguments)
    answer = asked["answer"]
    return {"keys": keys, "command": asked["command"], **{name: answer[name] for name in KEPT if answer.get(name) is not None}}


def along_stream(key):
    """The claim of a multiplier is measured of every subcomponent that writes the residual stream."""
    return ("--along-stream",) if any(name in key for name in ("o_proj", "down_proj")) else ()


def slug(subject, study, word, role):
    return f"{study.name}-{word if word == 'class' else subject.tokens.number(word)}-{role.replace(', ', '_').replace(' ', '_')}"


def without_one_for_all(subject, study, fires, *arguments):
    key = fires["one_for_all"]["key"]
    return {"class, best one": edit(subject, slug(subject, study, "class", "best one"), [key], *along_stream(key), *arguments)} if key else {}


def served(study, fires, word):
    """The subcomponents of a word that are taken out; `up` and `down` of the input side are shown alone."""
    return {role: one["key"] for role, one in fires["best"][word].items() if role not in ("up", "down")}


def without_conjunctions(subject, study, fires):
    """The one for the class; of each word, each subcomponent of the table of roles, and all of them together."""
    edits = without_one_for_all(subject, study, fires)
    for word in study.words:
        wanted = ("--wanted", f"#{subject.tokens.number(word)}")
        keys = served(study, fires, word)
        for role, key in keys.items():
            edits[f"{word}, {role}"] = edit(subject, slug(subject, study, word, role), [key], *(wanted if role.startswith("says") else ()))
        if len(keys) > 1:
            edits[f"{word}, together"] = edit(subject, slug(subject, study, word, "together"), sorted(set(keys.values())), *wanted)
    return edits


def without_adverbs(subject, study, fires):
    """The one for the class, the best of each role for it, and the best writers of the stream, whose write is held against the stream."""
    text = ("--set", f"data.eval.path={rows_with(subject, study)}")
    edits = without_one_for_all(subject, study, fires, *text)
    for role, one in fires["best"]["all"].items():
        edits[f"class, {role}"] = edit(subject, slug(subject, study, "class", role), [one["key"]], *along_stream(one["key"]), *text)
    writers, _ = ranking(subject, f"writers-{study.name}", subject.numbered(study.words), WRITERS, "input", 3)
    for i, one in enumerate(writers):
        edits[f"class, writer {i + 1}"] = edit(subject, slug(subject, study, "class", f"writer {i + 1}"), [one["key"]], "--along-stream", *text)
    return edits


def without_boundaries(subject, study, fires):
    """The one for the class; of each mark, the best query, key and value subcomponents, with attention across it, and the one that says it."""
    def across(words):
        return "--across", listed(subject.numbered(words))

    edits = without_one_for_all(subject, study, fires, *across(study.words))
    for word in study.words:
        keys = served(study, fires, word)
        for role in ("query", "key", "value", "says, down"):
            if role in keys:
                extra = ("--wanted", listed(subject.numbered([word]))) if role.startswith("says") else across([word])
                edits[f"{word}, {role}"] = edit(subject, slug(subject, study, word, role), [keys[role]], *extra)
    return edits


def across_others(subject, study):
    """Claim: a boundary stops attention. What the target itself attends to across a mark, against the same across other tokens that come about as
    often. (Any edit will do: what it is before the edit is read.)"""
    found = {}
    for word in study.words:
        number = subject.tokens.number(word)
        marks = [number, *near_counts(subject, number, subject.numbered(study.words))[:OTHER_BOUNDARIES]]
        mass = []
        for mark in marks:
            asked = subject.program.ask(f"across-{mark}", "edit", subject.run, "--ablate", "h.1.attn.q_proj:0", "--across", listed([mark]),
                                        "--controls", 0, "--measure-positions", subject.positions, "--slug", "case_study-across")
            mass.append(asked["answer"]["attention"]["before"])
        found[word] = {"mark": mass[0], "others": {subject.tokens.texts[mark]: one["mean"] for mark, one in zip(marks[1:], mass[1:])}}
    return found


WITHOUT = {"conjunctions": without_conjunctions, "adverbs": without_adverbs, "boundaries": without_boundaries}


def spoken(subject, study, fires, prompts):
    """Text with and without the subcomponents of a word, after the first prompt of its file."""
    texts = {}
    for word, behaviour in zip(study.words, study.behaviours):
        keys = sorted(set(served(study, fires, word).values()))
        if not keys:
            continue
        edits = [part for key in keys for part in ("--ablate", key)]
        asked = subject.program.ask(f"text-{slug(subject, study, word, 'together')}", "intervene", subject.run, "--prompt", prompts[behaviour],
                                    *edits, "--generate", 24, "--controls", 2)
        texts[word] = {"keys": keys, "prompt": prompts[behaviour], "command": asked["command"],
                       **({"refused": asked["answer"]["refused"]} if "refused" in asked["answer"] else {
                           "texts": {one["who"]: one["text"] for one in asked["answer"]["generations"]}})}
    return texts


# ---- Behaviours ----


def audits(subject, study, directory):
    found = {}
    for behaviour in study.behaviours:
        asked = subject.program.ask(f"audit-{behaviour}", "audit", subject.run, "--prompts", directory / f"{behaviour}.jsonl", "--against",
                                    directory / "other.jsonl", "--slug", f"case_study-{behaviour}", "--top", 5)
        answer = asked["answer"]
        found[behaviour] = {"command": asked["command"], **({"refused": answer["refused"]} if "refused" in answer else {
            **{name: answer[name] for name in ("prompts", "against", "metric", "probability")}, "ranking": answer["ranking"][:5]})}
    return found


def unlearned(subject, study, directory):
    """One behaviour of the study, taken out within the default budget of damage, beside baselines."""
    behaviour = study.unlearned
    asked = subject.program.ask(f"unlearn-{behaviour}", "unlearn", subject.run, "--prompts", directory / f"{behaviour}.jsonl", "--against",
                                directory / "other.jsonl", "--candidates", 50, "--most", 8, "--baselines", subject.settings.baselines, "--slug",
                                f"case_study-{behaviour}")
    kept = ("refused", "prompts", "against", "budget", "probability", "set", "effect", "probability_after", "side")
    answer = asked["answer"]
    return {"behaviour": behaviour, "command": asked["command"], **{name: answer[name] for name in kept if name in answer},
            "curves": [{name: curve[name] for name in ("name", "fall_at_budget", "area")} for curve in answer.get("curves", [])]}
