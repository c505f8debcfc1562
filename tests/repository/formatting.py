"""Every C++ and CUDA file looks as clang-format leaves it."""

import subprocess
from pathlib import Path

from listing import CPP, files


def problems(root):
    root = Path(root)
    paths = [str(p) for p in files(root, CPP)]
    if not paths:
        return []
    result = subprocess.run(["clang-format", "--dry-run", "-Werror", *paths], cwd=root, capture_output=True, text=True)
    if result.returncode == 0:
        return []
    lines = [line for line in result.stderr.splitlines() if "error:" in line]
    bad = sorted({line.split(":")[0] for line in lines})
    if not bad:
        return [f"clang-format failed: {result.stderr.strip()}"]
    return [f"{name}: run clang-format -i {name}" for name in bad]
