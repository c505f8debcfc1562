"""The include graph: a room uses only rooms below it, public headers stay free of heavy headers, and device code of
LibTorch."""

import re
from pathlib import Path

from listing import CPP, files

# The rooms, lowest first, and which others each may include: the table of CONTRIBUTING.md.
LADDER = {
    "base": "",
    "config": "base",
    "io": "base config",
    "machine": "base config",
    "kernels": "base config machine",
    "ops": "base config io machine kernels",
    "target": "base config io machine kernels ops",
    "decomposition": "base config io machine kernels ops target",
    "passes": "base config io machine kernels ops target decomposition",
    "objective": "base config io machine kernels ops target decomposition passes",
    "adversary": "base config io machine kernels ops target decomposition passes",
    "training": "base config io machine kernels ops target decomposition passes objective adversary",
    "pretraining": "base config io machine kernels ops target",
    "evaluation": "base config io machine kernels ops target decomposition passes objective adversary",
    "interpretation": "base config io machine kernels ops target decomposition passes objective adversary evaluation",
    "cost": "base config io machine kernels ops target decomposition passes objective adversary training evaluation",
    "health": "base config io",
    "import": "base config io machine kernels ops target decomposition",
    "run": "base config io machine kernels ops target decomposition passes objective adversary training pretraining evaluation interpretation cost health import",
}
ALLOWED = {room: set(others.split()) for room, others in LADDER.items()}

LIBTORCH = re.compile(r"^(torch|ATen|c10|caffe2)/")
CUDA = re.compile(r"^(cuda|cublas|cudnn|cusparse|cusolver|curand|nccl|cooperative_groups|cub/|thrust/|nv/)|^(c10|ATen)/cuda/")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def room_of(path):
    """The room of a file of the library, or None."""
    parts = path.parts
    if parts[:2] == ("include", "vpd") and len(parts) > 3:
        return parts[2]
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return None


def includes(root, path):
    """(line number, included name, room it belongs to or None) for each include of a file."""
    for number, line in enumerate((root / path).read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        name = match[2]
        parts = Path(name).parts
        room = None
        if parts[0] == "vpd" and len(parts) > 2:
            room = parts[1]
        elif match[1] == '"' and len(parts) > 1 and (root / "src" / name).is_file():
            room = parts[0]
        elif match[1] == '"' and (root / path.parent / name).is_file():
            sibling = (root / path.parent / name).resolve().relative_to(root.resolve())
            room = room_of(sibling)
        yield number, name, room


def problems(root):
    root = Path(root)
    found = []
    for path in files(root, CPP):
        top = path.parts[0]
        if top not in ("include", "src", "tools"):
            continue
        room = room_of(path)
        if top != "tools" and room not in ALLOWED and path.parts != ("include", "vpd", path.name):
            found.append(f"{path}: '{room}' is no room; the rooms are {', '.join(ALLOWED)}")
            continue
        for number, name, used in includes(root, path):
            where = f"{path}:{number}: includes {name}"
            if top == "tools":
                if used and not name.startswith("vpd/"):
                    found.append(f"{where}, but programs use public headers only")
                continue
            if used and room and used != room and used not in ALLOWED[room]:
                found.append(f"{where}, but {room} may use {', '.join(sorted(ALLOWED[room])) or 'no other room'} only")
            if room in ("base", "config") and LIBTORCH.match(name):
                found.append(f"{where}, but {room} is compiled without LibTorch")
            if top == "include" and name in ("torch/torch.h", "torch/extension.h", "ATen/ATen.h", "torch/types.h"):
                found.append(f"{where}, which takes seconds to compile: include <ATen/core/Tensor.h>")
            if top == "include" and CUDA.match(name):
                found.append(f"{where}, but a public header must compile without the CUDA toolkit")
            if path.suffix in (".cu", ".cuh") and LIBTORCH.match(name):
                found.append(f"{where}, but device code takes raw pointers and includes no header of LibTorch")
    return found
