"""Every kernel launch is followed, on the next line of code, by the check of that launch."""

import re
from pathlib import Path

from listing import files, strip_comments

CHECK = "VPD_CUDA_LAUNCH_CHECK();"


def problems(root):
    root = Path(root)
    found = []
    for path in files(root, (".cu", ".cuh")):
        text = strip_comments((root / path).read_text())
        for launch in re.finditer("<<<", text):
            number = text.count("\n", 0, launch.start()) + 1
            end = text.find(";", launch.start())
            after = text[end + 1 :] if end >= 0 else ""
            rest_of_line, _, below = after.partition("\n")
            if rest_of_line.strip() or not below.lstrip().startswith(CHECK):
                found.append(f"{path}:{number}: the line after this launch is not {CHECK}")
    return found
