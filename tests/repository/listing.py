"""The files that a check looks at: what git tracks, and what it does not know yet but would not ignore."""

import subprocess
from pathlib import Path

CPP = (".hpp", ".cpp", ".cu", ".cuh")


def files(root, suffixes):
    """Paths below root, relative to it and sorted, with one of the suffixes; every file where root is no checkout."""
    root = Path(root)
    if (root / ".git").exists():
        command = ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        names = [Path(name) for name in output.split("\0") if name]
    else:
        skipped = {".git", ".venv", "build"}
        names = [p.relative_to(root) for p in root.rglob("*") if not skipped & set(p.relative_to(root).parts)]
    return sorted(n for n in set(names) if n.suffix in suffixes and (root / n).is_file())


def strip_comments(text):
    """C++ source with comments and the contents of string literals blanked out, line for line."""
    out = []
    i = 0
    while i < len(text):
        if text.startswith("//", i):
            end = text.find("\n", i)
            i = len(text) if end < 0 else end
        elif text.startswith("/*", i):
            end = text.find("*/", i + 2)
            end = len(text) if end < 0 else end + 2
            out.append("\n" * text.count("\n", i, end))
            i = end
        elif text[i] == '"':
            end = i + 1
            while end < len(text) and text[end] not in '"\n':
                end += 2 if text[end] == "\\" else 1
            out.append('""')
            i = end + 1
        else:
            out.append(text[i])
            i += 1
    return "".join(out)
