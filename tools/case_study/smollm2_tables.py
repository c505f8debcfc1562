"""The figures of tools/case_studies_smollm2 as Markdown tables, as docs/case_studies_smollm2.md shows them."""

from .smollm2 import numbered_prompts
from .tables import number, percent, table, with_controls, word

SITES = {"self_attn.q_proj": "q", "self_attn.k_proj": "k", "self_attn.v_proj": "v", "self_attn.o_proj": "o", "mlp.gate_proj": "gate",
         "mlp.up_proj": "up", "mlp.down_proj": "down"}


def key(text):
    """20.up:9 for layers.20.mlp.up_proj:9."""
    site, index = text.rsplit(":", 1)
    _, block, matrix = site.split(".", 2)
    return f"{block}.{SITES[matrix]}:{index}"


def said(prompt, continuation):
    return f"“{prompt}” → “{continuation.strip()}”"


def explained(document):
    rows = []
    for i, ((_, prompt, continuation), one) in enumerate(zip(numbered_prompts(), document["explained"]["prompts"])):
        removal = next((r for r in document["explained"]["removals"] if r["prompt"] == i), None)
        rows.append([said(prompt, continuation), number(one["probability"][0]), number(one["rounded"][0]), one["nodes"], number(one["attacked"]),
                     "yes" if one["faithful"] else "no", len(removal["keys"]) if removal else "none",
                     ", ".join(number(p) for p in removal["after"]) if removal else "", f"{number(removal['kl_mean'])}; {number(removal['kl_99'])}" if removal else ""])
    return table(["prompt", "p", "rounded", "nodes of its graph", "p under the worst attack", "withstands", "removed", "p of the five then",
                  "KL elsewhere: mean; 99th percentile"], rows)


def one_for_all(document):
    rows = []
    for name, one in document["one_for_all"].items():
        others = sorted(one["others"])
        rows.append([name, key(one["key"]), ", ".join(number(kl) for kl in one["kl"]), number(one["elsewhere_99"]), number(one["difference"]),
                     f"{number(others[len(others) // 2])}, {number(others[-1])}", f"{one['larger']} of {len(others)}"])
    return table(["class", "best one", "KL behind the five prompts without it", "elsewhere, 99th percentile", "difference",
                  "other choices of prompts: median, most", "of these as large"], rows)


def held_out(document):
    rows = []
    for one in document["held_out"]:
        if "wanted" in one:
            before, after = one["wanted"]["p"]
            rows.append([f"“{one['removed']}”", word(one["word"]), f"{before:.3f}", f"{after:.3f}", *with_controls(one["figures"]["wanted_p_lost"]),
                         *with_controls(one["figures"]["all_kl"])])
        else:
            rows.append([f"“{one['removed']}”", word(one["word"]), "", "", one.get("refused", ""), "", "", "", "", ""])
    return table(["what was removed", "word", "p before", "p after", "lost", "controls", "above", "KL", "controls", "above"], rows)


def along_stream(document):
    rows = []
    for one in document["along_stream"]:
        measured = one.get("mechanism", {})
        if "stream_cosine" in measured:
            rows.append([key(one["key"]), ", ".join(number(kl) for kl in one["kl"]), measured["stream_cosine"]["tokens"],
                         *with_controls(measured["stream_cosine"]), *with_controls(measured["stream_gain"])])
    return table(["writer", "KL behind the five prompts without it", "positions", "cosine", "controls", "above", "gain", "controls", "above"], rows)


def across(document):
    rows = []
    for mark, found in document["across"].items():
        own, others = found["mark"], found["others"]
        rows.append([word(mark), found["count"], f"{own['mean']:.3f} ({own['low']:.3f} to {own['high']:.3f})",
                     ", ".join(f"{word(other)} {mass:.3f}" for other, mass in others.items()),
                     f"{sum(mass > own['mean'] for mass in others.values())} of {len(others)}"])
    return table(["boundary", "times", "across it", "across others as common", "of these larger"], rows)


def tables(document):
    """By the name that the page calls each by."""
    return {"explained": explained(document), "one for all": one_for_all(document), "held out": held_out(document),
            "along the stream": along_stream(document), "across": across(document)}

