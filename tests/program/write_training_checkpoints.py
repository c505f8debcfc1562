"""Saves a target's weights as training scripts do, with torch.save, for foreign_checkpoints_test.py.

    python write_training_checkpoints.py WEIGHTS DIRECTORY

WEIGHTS is a state dict that torch.save wrote; each DIRECTORY/<name>.pt holds it once more, and more.
"""

import argparse
import datetime
import os
import random
import sys
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import torch


class Settings(dict):
    """A dictionary with attributes, as several packages have one."""

    def __init__(self, **entries):
        super().__init__(entries)
        self.parent = self  # holds itself


class Node:
    """A node of a configuration that knows its parent, and reads its content by a method."""

    def __init__(self, content, parent=None):
        self.content, self.parent = content, parent

    def __getstate__(self):
        return self.__dict__

    def __setstate__(self, state):
        self.__dict__ = state


class Hostile:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def learning_rate(step):
    return 1.0 / (1 + step)


def with_prefix(prefix, state):
    return OrderedDict((prefix + name, tensor) for name, tensor in state.items())


def beside(state):
    """What training scripts save beside a model."""
    parameters = [torch.nn.Parameter(tensor.clone()) for tensor in state.values()]
    optimizer = torch.optim.AdamW(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    root = Node({"lr": 1e-3})
    root.child = Node([1, 2], parent=root)
    losses = defaultdict(list)
    losses["train"] = [np.float32(1.5), np.float64(2.5)]
    return {
        "optimizer": optimizer.state_dict(),
        "epoch": np.int64(3),
        "best": np.float32(1.25),
        "mask": np.arange(6).reshape(2, 3),
        "losses": losses,
        "args": argparse.Namespace(lr=1e-3, out=Path("runs"), device=torch.device("cpu"), dtype=torch.bfloat16, when=datetime.datetime.now()),
        "config": Settings(lr=1e-3, name="x", sizes=torch.Size([2, 3])),
        "tree": root,
        "schedule": learning_rate,
        "kind": Settings,
        "numpy_rng": np.random.default_rng(0).bit_generator.state,
        "python_rng": random.getstate(),
        "torch_rng": torch.get_rng_state(),
        "seed": 2 ** 64 - 1,
        "tags": {"a", "b"},
        "hash": b"\x00\xff",
        "path": "\udce9",
        "sparse": torch.eye(3).to_sparse(),
        "hooked": None,
    }


def main(weights, directory):
    state = torch.load(weights, weights_only=True)
    parameters = OrderedDict((name, torch.nn.Parameter(tensor)) for name, tensor in state.items())
    for parameter in parameters.values():
        parameter.weight_decay = 0.1  # an attribute, as optimizers' groups are sometimes made by
    files = {
        "wrapped": {"model": with_prefix("module.", state), **beside(state)},
        "compiled": {"model": with_prefix("_orig_mod.", state), **beside(state)},
        "lightning": {"state_dict": with_prefix("model.module._orig_mod.", state), "callbacks": {"x": Node(1)}, "loops": {}, "hyper_parameters": Settings()},
        "nested": {"checkpoint": {"model_state_dict": state, "args": argparse.Namespace()}, "step": 5},
        "dictionary_of_a_class": {"model": Settings(**with_prefix("module.", state)), **beside(state)},
        "deepspeed": {"module": state, **beside(state)},
        "flat": {**state, **beside(state)},
        "parameters": {"model": parameters, **beside(state)},
        "averages": {"model": state, "ema": with_prefix("module.", {name: tensor + 1 for name, tensor in state.items()})},
        "harmful": {"model": state, "x": Hostile()},
    }
    for name, content in files.items():
        torch.save(content, directory / f"{name}.pt")
    for protocol in (3, 4, 5):
        torch.save(files["wrapped"], directory / f"protocol_{protocol}.pt", pickle_protocol=protocol)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
