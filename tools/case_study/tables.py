"""The figures of tools/case_studies as Markdown tables, as docs/case_studies.md shows them."""

import re

from .program import Failure
from .studies import ROLES

SITES = {"attn.q_proj": "q", "attn.k_proj": "k", "attn.v_proj": "v", "attn.o_proj": "o", "mlp.c_fc": "up", "mlp.down_proj": "down"}

CONCENTRATED = ("For the same damage near by", "It takes away the wanted tokens")  # how vpd's sentence of the budget begins where it holds


def key(text):
    """1.down:39 for h.1.mlp.down_proj:39."""
    site, number = text.rsplit(":", 1)
    _, block, matrix = site.split(".", 2)
    return f"{block}.{SITES[matrix]}:{number}"


def word(text):
    return "line feed" if text == "\n" else f"“{text.strip()}”"


def number(value):
    """Three significant digits, without an exponent."""
    text = f"{value:.3g}"
    return f"{value:.6f}".rstrip("0") if "e" in text else text


def percent(value):
    return f"{100 * value:.0f} %"


def table(columns, rows):
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [columns, ["---"] * len(columns), *rows])


def each_study(document, name):
    """(target and seed, figures) of the runs whose vocabulary has the words."""
    for run in document["runs"]:
        study = run["studies"][name]
        if "left_out" not in study:
            yield [run["target"], run["seed"]], study


def decompositions(document):
    rows = []
    for run in document["runs"]:
        m = run["decomposition"]
        rows.append([run["target"], run["seed"], number(m["ce_kl/kl_unmasked"]), f"{m['ce_kl/ce_rounded_0'] - m['ce_kl/ce_target']:+.3f}",
                     number(m["ce_kl/kl_stochastic"]), number(m["pgd/pgd_20"]), number(m["ce_kl/kl_zero"]), f"{m['l0/total']:.1f}",
                     f"{m['alive/total']:.0f}"])
    return table(["target", "seed", "KL unmasked", "CE rounded (CI > 0)", "KL stochastic", "PGD-20 KL", "zeroed", "L0 a position", "alive"], rows)


def who_fires(document, name):
    roles = [role for role in ROLES if name == "adverbs" or role not in ("up", "down")]
    rows = []
    for where, study in each_study(document, name):
        for label, best in study["best"].items():
            cells = [f"{key(best[role]['key'])} {best[role]['f1']:.2f}" if role in best else "none" for role in roles]
            rows.append([*where, "the class" if label == "all" else word(label), *cells])
    return table(["target", "seed", "word", *roles], rows)


def one_for_all(document):
    rows = []
    for name in document["runs"][0]["studies"]:
        for where, study in each_study(document, name):
            one = study["one_for_all"]
            others = sorted(one["random_classes"])
            covers = ", ".join(f"{word(label)} {percent(cover)}" for label, cover in one["cover"].items())
            rows.append([name, *where, key(one["key"]) if one["key"] else "none", covers, percent(one["elsewhere"]), f"{one['difference']:.2f}",
                         f"{others[len(others) // 2]:.2f}, {others[-1]:.2f}", percent(one["above"])])
    return table(["class", "target", "seed", "best one", "fires at", "elsewhere", "difference", "random classes: median, most", "above"], rows)


def with_controls(figure):
    text = f"{number(figure['mean'])} ({number(figure['low'])} to {number(figure['high'])})"
    if "percentile" not in figure:
        return [text, "", ""]
    return [text, f"{number(figure['control_mean'])} ± {number(figure['control_spread'])}", percent(figure["percentile"])]


def each_edit(document, name):
    """(target, seed, word, role and what was taken out; the edit) of those that were not refused."""
    for where, study in each_study(document, name):
        for label, edit in study["without"].items():
            of, role = label.split(", says", 1) if ", says" in label else label.rsplit(", ", 1)
            if "figures" in edit:
                yield [*where, "the class" if of == "class" else word(of), f"says{role}" if ", says" in label else role,
                       ", ".join(map(key, edit["keys"]))], edit


def without(document, name):
    rows = []
    for who, edit in each_edit(document, name):
        figures = edit["figures"]
        rows.append([*who, figures["important_kl"]["tokens"], *with_controls(figures["important_kl"]), number(figures["near_kl"]["mean"]),
                     number(figures["far_kl"]["mean"])])
    return table(["target", "seed", "word", "role", "taken out", "positions", "KL where it is important", "controls", "above", "near", "far"], rows)


def along_stream(document):
    rows = []
    for name in document["runs"][0]["studies"]:
        for (target, seed, _, role, keys), edit in each_edit(document, name):
            measured = edit.get("mechanism", {})
            if "stream_cosine" in measured:
                rows.append([name, target, seed, role, keys, measured["stream_cosine"]["tokens"], *with_controls(measured["stream_cosine"]),
                             *with_controls(measured["stream_gain"])])
    return table(["class", "target", "seed", "role", "writer", "positions", "cosine", "controls", "above", "gain", "controls", "above"], rows)


def attention(document):
    rows = []
    for who, edit in each_edit(document, "boundaries"):
        mass = edit.get("attention")
        if mass and mass["change"]["high"] > mass["change"]["low"]:  # not where nothing behind it attends, as behind values of the last block
            rows.append([*who, mass["before"]["tokens"], f"{mass['before']['mean']:.3f}", f"{mass['after']['mean']:.3f}",
                         *with_controls(edit["mechanism"]["attention_change"])])
    return table(["target", "seed", "across", "role", "taken out", "positions", "before", "after", "change", "controls", "above"], rows)


def across(document):
    rows = []
    for where, study in each_study(document, "boundaries"):
        for label, found in study["across"].items():
            mark, others = found["mark"], found["others"]
            rows.append([*where, word(label), f"{mark['mean']:.3f} ({mark['low']:.3f} to {mark['high']:.3f})",
                         ", ".join(f"{word(other)} {mass:.3f}" for other, mass in others.items()),
                         f"{sum(mass > mark['mean'] for mass in others.values())} of {len(others)}"])
    return table(["target", "seed", "boundary", "across it", "across others as common", "of these larger"], rows)


def wanted(document, name):
    rows = []
    for who, edit in each_edit(document, name):
        if "wanted" in edit:
            before, after = edit["wanted"]["p"]
            rows.append([*who, edit["wanted"]["positions"], f"{before:.3f}", f"{after:.3f}", *with_controls(edit["figures"]["wanted_p_lost"]),
                         "yes" if edit["sentence"].startswith(CONCENTRATED) else "no"])
    return table(["target", "seed", "word", "role", "taken out", "positions", "p before", "p after", "lost", "controls", "above", "concentrated"], rows)


def audits(document, name):
    rows = []
    for where, study in each_study(document, name):
        for behaviour, audit in study["audits"].items():
            if "refused" in audit:
                rows.append([*where, behaviour.replace("_", " "), "", "", "refused", "", "", ""])
                continue
            for i, one in enumerate(audit["ranking"][:2]):
                rows.append([*where, behaviour.replace("_", " ") if i == 0 else "", audit["prompts"] if i == 0 else "",
                             f"{audit['probability']:.3f}" if i == 0 else "", key(one["key"]),
                             f"{one['effect']:.2f} ({one['effect_low']:.2f} to {one['effect_high']:.2f})", number(one["side"]),
                             f"{one['auc_importance']:.2f}"])
    return table(["target", "seed", "behaviour", "prompts", "p", "subcomponent", "effect", "side KL", "AUC g"], rows)


def unlearned(document):
    rows = []
    for name in document["runs"][0]["studies"]:
        for where, study in each_study(document, name):
            one = study["unlearned"]
            of = [*where, one["behaviour"].replace("_", " ")]
            if "refused" in one:
                rows.append([*of, "", "refused", "", "", "", ""])
                continue
            effect = one["effect"]
            rows.append([*of, ", ".join(key(chosen["key"]) for chosen in one["set"]), f"{one['probability']:.3f}", f"{one['probability_after']:.3f}",
                         f"{effect['mean']:.2f} ({effect['low']:.2f} to {effect['high']:.2f})", number(one["side"]["mean"]),
                         ", ".join(f"{curve['name'].replace('_', ' ')} {curve['fall_at_budget']:.2f}" for curve in one["curves"])])
    return table(["target", "seed", "behaviour", "set", "p before", "p after", "effect", "side KL", "largest fall within the budget, by method"], rows)


def texts(document):
    rows = []
    for where, study in each_study(document, "conjunctions"):
        for label, text in study["texts"].items():
            for who, goes_on in text.get("texts", {}).items():
                rows.append([*where, word(label), text["prompt"], who, goes_on.replace("\n", " ⏎ ").strip()])
    return table(["target", "seed", "word", "prompt", "text of", "goes on"], rows)


def tables(document):
    """By the name that the page calls each by."""
    made = {"decompositions": decompositions(document), "one for all": one_for_all(document), "texts": texts(document),
            "across": across(document), "attention": attention(document), "along the stream": along_stream(document),
            "unlearned": unlearned(document)}
    for name in document["runs"][0]["studies"]:
        made.update({f"{name}, who fires": who_fires(document, name), f"{name}, without it": without(document, name),
                     f"{name}, wanted": wanted(document, name), f"{name}, audits": audits(document, name)})
    return {name: text for name, text in made.items() if text.count("\n") > 1}  # those with rows


def filled(page, made):
    """The page with each table that it names in a comment, `<!-- table: NAME -->`, up to `<!-- end -->`, as it was made."""
    def put(match):
        if match[1] not in made:
            raise Failure(f"expected one of the tables {', '.join(sorted(made))}, found '{match[1]}'")
        return f"<!-- table: {match[1]} -->\n\n{made[match[1]]}\n\n<!-- end -->"

    return re.sub(r"<!-- table: ([^\n]*) -->\n.*?<!-- end -->", put, page, flags=re.DOTALL)
