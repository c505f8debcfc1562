"""JSON is written by json_text(), which bears names of files that are no UTF-8; dump() throws."""

import re
from pathlib import Path

from listing import CPP, files, strip_comments

PLACES = ("src", "tools", "include")
HOME = Path("include/vpd/base/json_text.hpp")


def problems(root):
    root = Path(root)
    found = []
    for path in files(root, CPP):
        if path.parts[0] not in PLACES or path == HOME:
            continue
        text = strip_comments((root / path).read_text())
        for call in re.finditer(r"(\.|->)dump\(", text):
            number = text.count("\n", 0, call.start()) + 1
            found.append(f"{path}:{number}: expected json_text() of vpd/base/json_text.hpp, found dump()")
    return found
