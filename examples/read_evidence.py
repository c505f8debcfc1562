"""Prints the subcomponents of a run that fire most, and the tokens that they fire at: python examples/read_evidence.py RUN
Run `vpd harvest RUN` first. It needs numpy and safetensors; tokenizers, where installed, gives tokens their text."""
import json
import sys
from pathlib import Path
from safetensors.numpy import load_file
try:
    from tokenizers import Tokenizer
except ImportError:
    Tokenizer = None
harvest = max(Path(sys.argv[1]).glob("interpretation/step_*/harvest"))  # of the last step
about = json.loads((harvest / "about.json").read_text())
names = [f"{site['name']}:{c}" for site in about["sites"] for c in range(site["C"])]
firings = load_file(harvest / "subcomponents.safetensors")["firings"]
table = load_file(harvest / "input_tokens.safetensors")  # the tokens of one subcomponent after those of another
alive, offsets = table["subcomponent"], table["offsets"]
files = [Path(file["path"]).with_name("tokenizer.json") for file in about["tokens"]]  # beside the tokens
tokenizer = Tokenizer.from_file(str(files[0])) if Tokenizer and files and files[0].exists() else None
for place in (-firings[alive]).argsort(kind="stable")[:10]:
    tokens, counts = (table[name][offsets[place]:offsets[place + 1]] for name in ("token", "count"))
    often = [(int(tokens[i]), counts[i]) for i in (-counts).argsort(kind="stable")[:3]]
    shown = [f"#{token}{' ' + repr(tokenizer.decode([token])) if tokenizer else ''} {count} times" for token, count in often]
    print(f"{names[alive[place]]:24} fires {firings[alive[place]]:7} times, at", ", ".join(shown))
