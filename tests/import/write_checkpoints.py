"""Writes checkpoints with torch.save, and beside each what its tensors hold, for torch_checkpoint_test.cpp.

    python write_checkpoints.py DIRECTORY

<name>.pt is the checkpoint, <name>.json {tensor: {"dtype", "shape", "bytes": hexadecimal, row by row}}.
"""

import argparse
import datetime
import json
import os
import random
import sys
from collections import OrderedDict
from pathlib import Path

import torch

# Those that torch.save writes with a type of storage of their own, and those that came later.
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
          torch.uint8, torch.bool, torch.complex128, torch.complex64, torch.complex32, torch.uint64, torch.uint32, torch.uint16,
          torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz]


def draw(dtype, *shape):
    """Any bytes, of which truth values have two."""
    count = torch.empty(shape).numel()
    size = torch.empty(0, dtype=dtype).element_size()
    data = [random.randrange(2 if dtype is torch.bool else 256) for _ in range(count * size)]
    return torch.tensor(data, dtype=torch.uint8).view(dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)


def content(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    data = bytes(flat.view(torch.uint8).tolist()) if flat.numel() else b""
    return {"dtype": str(tensor.dtype), "shape": list(tensor.shape), "bytes": data.hex()}


def write(directory, name, value, tensors, **options):
    torch.save(value, directory / f"{name}.pt", **options)
    (directory / f"{name}.json").write_text(json.dumps({key: content(tensor) for key, tensor in tensors.items()}))


def main(directory):
    random.seed(0)
    by_dtype = {str(dtype): draw(dtype, 3, 5) for dtype in DTYPES}
    write(directory, "dtypes", by_dtype, by_dtype)

    layouts = {}
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
        base = draw(dtype, 6, 4, 5)
        layouts |= {f"{dtype} {name}": tensor for name, tensor in {
            "whole": base, "transposed": base.transpose(0, 2), "slice": base[1:5:2, 1:], "element": base[3, 2, 1],
            "row": base[2, 1], "expanded": base[0, 0].expand(7, 3, 5), "overlapping": base.reshape(-1).as_strided((9, 4), (2, 3), 7),
            "empty": base[:0], "none": torch.empty(0, dtype=dtype), "last": base.reshape(-1)[-1:]}.items()}
    # Views of one storage, which is written once.
    for protocol in (2, 3, 4, 5):
        write(directory, f"layouts_{protocol}", OrderedDict(layouts), layouts, pickle_protocol=protocol)

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3, bias=False))
    write(directory, "state_dict", module.state_dict(), module.state_dict())
    nested = {"model": module.state_dict(), "step": 7, "rate": 1e-3, "done": False, "nothing": None, "name": "ü",
              "list": [torch.ones(2), (torch.zeros(1), 2 ** 40, -1)], "parameter": torch.nn.Parameter(torch.ones(3, 2).t()),
              3: torch.tensor(5)}
    tensors = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    tensors |= {"list.0": nested["list"][0], "list.1.0": nested["list"][1][0], "parameter": nested["parameter"], "3": nested[3]}
    write(directory, "nested", nested, tensors)

    torch.serialization.set_crc32_options(False)
    write(directory, "without_sums", {"a": by_dtype["torch.float32"]}, {"a": by_dtype["torch.float32"]})
    torch.serialization.set_crc32_options(True)

    # A parameter and a tensor with attributes, and a buffer.
    attributes = {"parameter": torch.nn.Parameter(torch.ones(2, 3)), "tensor": torch.arange(4.0), "buffer": torch.nn.Buffer(torch.ones(3))}
    attributes["parameter"].note, attributes["tensor"].note = "a", {"b": 1}
    write(directory, "attributes", attributes, attributes)

    # What is passed over, and what the error says of it once it is asked for.
    unread = {"conjugate": (torch.zeros(2, dtype=torch.complex64).conj(), "resolve_conj"),
              "sparse": (torch.eye(3).to_sparse(), "torch._utils._rebuild_sparse_tensor"),
              "quantized": (torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.quint8), "torch._utils._rebuild_qtensor"),
              "module": (module, "torch.nn.modules.container.Sequential"),
              "namespace": (argparse.Namespace(rate=1e-3, path=Path("a"), when=datetime.datetime(2026, 1, 1)), "argparse.Namespace"),
              "function": (os.path.join, "posixpath.join"), "type": (dict, "dict"), "number": (2 ** 100, "more than 64 bits"),
              "size": (torch.Size([1, 2]), "torch.Size"), "bytes": (b"ab", "_codecs.encode"), "set": ({1}, "__builtin__.set")}
    for name, (value, _) in unread.items():
        torch.save({"good": torch.zeros(1), "bad": value, "last": torch.ones(1)}, directory / f"unread_{name}.pt")
    for protocol in (2, 3, 4, 5):
        torch.save({"good": torch.zeros(1), "bad": b"ab", "set": {1}, "frozen": frozenset([1]), "array": bytearray(b"x")},
                   directory / f"unread_bytes_{protocol}.pt", pickle_protocol=protocol)
        unread[f"bytes_{protocol}"] = (None, "bytes" if protocol > 2 else "_codecs.encode")
    (directory / "unread.json").write_text(json.dumps({name: word for name, (_, word) in unread.items()}))

    # What is refused whole.
    torch.save({"a": torch.zeros(1)}, directory / "refused_legacy.pt", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1)), directory / "refused_script.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
