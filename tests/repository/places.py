"""Tests ask tests/support/places.hpp where their files are, so that they run on machines that have them elsewhere."""

import re
from pathlib import Path

from listing import CPP, files, strip_comments

HOME = Path("tests/support/places.hpp")
CURES = {"VPD_TEST_DATA": "test_data()", "VPD_SOURCE_DIR": "source_dir()"}


def problems(root):
    root = Path(root)
    found = []
    for path in files(root, CPP):
        if path.parts[0] != "tests" or path == HOME:
            continue
        text = strip_comments((root / path).read_text())
        for name in re.finditer("|".join(CURES), text):
            number = text.count("\n", 0, name.start()) + 1
            found.append(f"{path}:{number}: expected {CURES[name.group()]} of support/places.hpp, found {name.group()}, which is the building machine's")
    return found
