"""Every kernel is launched by VPD_LAUNCH, which checks the launch."""

import re
from pathlib import Path

from listing import files, strip_comments

DEFINITION = re.compile(r"#define VPD_LAUNCH\(.*?[^\\]\n", re.DOTALL)


def problems(root):
    root = Path(root)
    found = []
    for path in files(root, (".cu", ".cuh")):
        text = strip_comments((root / path).read_text())
        text = DEFINITION.sub(lambda definition: "\n" * definition.group().count("\n"), text)
        for launch in re.finditer("<<<", text):
            number = text.count("\n", 0, launch.start()) + 1
            found.append(f"{path}:{number}: expected VPD_LAUNCH, which checks the launch, found a bare one")
    return found
