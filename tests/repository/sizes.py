"""No source file is longer than 800 lines."""

from pathlib import Path

from listing import CPP, files

LIMIT = 800


def problems(root):
    root = Path(root)
    found = []
    for path in files(root, CPP + (".py", ".sh", ".cmake")):
        lines = len((root / path).read_text().splitlines())
        if lines > LIMIT:
            found.append(f"{path}: {lines} lines, more than {LIMIT}: split it by concept")
    return found
