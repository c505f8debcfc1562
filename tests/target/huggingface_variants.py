"""Writes small random checkpoints whose config.json or weights were changed afterwards, as their users change them, and the logits that
Hugging Face's `transformers` computes of them.

    python tests/target/huggingface_variants.py --out DIR [--seed N]

Directories are as those of tests/data/huggingface/make.py. The name of one that has to give a warning begins with "warned_".
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file, save_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).parents[1] / "data" / "huggingface"))
from make import GPT2, LLAMA, randomise

LINEAR = {"type": "linear", "factor": 2.5}
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0, "original_max_position_embeddings": 24}
OTHER = {"rope_type": "default", "rope_theta": 300.0}
FAMILIES = {"gpt2": GPT2Config(**GPT2), "llama": LlamaConfig(**LLAMA), "qwen2": Qwen2Config(**LLAMA), "qwen3": Qwen3Config(**LLAMA, head_dim=8)}


def set_keys(**keys):
    """Changes keys of config.json; one that is given as ... is removed."""

    def change(directory, model):
        path = directory / "config.json"
        config = json.loads(path.read_text())
        config.update(keys)
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))

    return change


def change_tensors(change):
    def change_file(directory, model):
        path = directory / "model.safetensors"
        tensors = load_file(path)
        save_file(change(tensors), path, metadata={"format": "pt"})

    return change_file


def save_as_module(directory, model):
    """One name of what two modules share is left out."""
    save_model(model, directory / "model.safetensors", metadata={"format": "pt"})


def embedding_of(tensors):
    return next(name for name in tensors if name.endswith(("wte.weight", "embed_tokens.weight")))


def head_alone(tensors):
    return {"lm_head.weight" if name == embedding_of(tensors) else name: tensor for name, tensor in tensors.items()}


def another_head(tensors):
    return {**tensors, "lm_head.weight": tensors[embedding_of(tensors)].flip(0).contiguous()}


def same_head(tensors):
    return {**tensors, "lm_head.weight": tensors[embedding_of(tensors)].clone()}


def without_prefix(tensors):
    return {name.removeprefix("model.").removeprefix("transformer."): tensor for name, tensor in tensors.items()}


# Name: the family, its keys, and what is changed afterwards.
CASES = {
    # Rotary embedding, said in several ways at once.
    "theta_outside": ("llama", {}, [set_keys(rope_theta=77.0, rope_parameters=...)]),
    "linear_outside": ("llama", {}, [set_keys(rope_theta=77.0, rope_parameters=..., rope_scaling=LINEAR)]),
    "warned_linear_beside_parameters": ("llama", {}, [set_keys(rope_parameters=OTHER, rope_scaling=LINEAR)]),
    "warned_linear_beside_parameters_qwen2": ("qwen2", {}, [set_keys(rope_parameters=OTHER, rope_scaling=LINEAR)]),
    "warned_linear_beside_parameters_qwen3": ("qwen3", {}, [set_keys(rope_parameters=OTHER, rope_scaling=LINEAR)]),
    "warned_linear_with_theta": ("llama", {}, [set_keys(rope_parameters=OTHER, rope_scaling={**LINEAR, "rope_theta": 200.0})]),
    "warned_linear_and_theta_outside": ("llama", {}, [set_keys(rope_parameters=OTHER, rope_scaling=LINEAR, rope_theta=200.0)]),
    "warned_default_beside_linear": ("llama", {}, [set_keys(rope_parameters={**OTHER, **LINEAR, "rope_type": "linear"}, rope_scaling={"type": "default"})]),
    "warned_linear_beside_yarn": ("llama", {}, [set_keys(rope_parameters={"rope_type": "yarn", "factor": 2.0}, rope_scaling=LINEAR)]),
    "warned_llama3_beside_parameters": ("llama", {}, [set_keys(rope_parameters=OTHER, rope_scaling=LLAMA3)]),
    "empty_scaling": ("llama", {}, [set_keys(rope_parameters=OTHER, rope_scaling={})]),
    "warned_two_thetas": ("llama", {}, [set_keys(rope_parameters=OTHER, rope_theta=20.0)]),
    "theta_beside_type": ("llama", {}, [set_keys(rope_parameters={"rope_type": "default"}, rope_theta=20.0)]),
    "both_types": ("llama", {}, [set_keys(rope_parameters=..., rope_scaling={"type": "yarn", **LLAMA3, "rope_theta": 90.0})]),
    "warned_factor_without_type": ("llama", {}, [set_keys(rope_parameters=..., rope_scaling={"factor": 2.0})]),
    "warned_unread_key": ("llama", {}, [set_keys(rope_parameters=..., rope_scaling={**LINEAR, "mscale": 3.0, "beta_fast": 32.0})]),
    "llama3_context_outside": ("llama", {}, [set_keys(rope_parameters={key: LLAMA3[key] for key in LLAMA3 if "original" not in key},
                                                      original_max_position_embeddings=12)]),
    "warned_llama3_two_contexts": ("llama", {}, [set_keys(rope_parameters=LLAMA3, original_max_position_embeddings=12)]),
    # Windows that are none.
    "window_of_later_blocks": ("qwen2", {}, [set_keys(use_sliding_window=True, sliding_window=4, max_window_layers=2, layer_types=...)]),
    "window_of_everything": ("qwen3", {}, [set_keys(use_sliding_window=True, sliding_window=64, max_window_layers=0, layer_types=...)]),
    "window_without_use": ("qwen2", {}, [set_keys(use_sliding_window=False, sliding_window=4, max_window_layers=0, layer_types=...)]),
    "full_attention_listed": ("qwen2", {}, [set_keys(use_sliding_window=True, sliding_window=4, max_window_layers=0,
                                                     layer_types=["full_attention"] * 2)]),
    "warned_window_of_a_llama": ("llama", {}, [set_keys(use_sliding_window=True, sliding_window=4, layer_types=["sliding_attention"] * 2)]),
    # Keys that a family does not read.
    "warned_biases_of_qwen2": ("qwen2", {}, [set_keys(attention_bias=False, mlp_bias=True)]),
    "warned_mlp_bias_of_qwen3": ("qwen3", {}, [set_keys(mlp_bias=True)]),
    "warned_multipliers": ("llama", {}, [set_keys(residual_multiplier=2.0, attention_multiplier=3.0, embedding_multiplier=2.0, logits_scaling=3.0,
                                                  final_logit_softcapping=1.0)]),
    "silent_keys": ("llama", {}, [set_keys(pretraining_tp=2, attention_dropout=0.5, use_cache=False, is_decoder=True, is_causal=True)]),
    "silent_keys_of_gpt2": ("gpt2", {}, [set_keys(reorder_and_upcast_attn=True, n_ctx=4, resid_pdrop=0.5, is_causal=True, summary_type="mean")]),
    "accurate": ("gpt2", {}, [set_keys(activation_function="gelu_accurate")]),
    "python_tanh": ("gpt2", {}, [set_keys(activation_function="gelu_python_tanh")]),
    "python": ("gpt2", {}, [set_keys(activation_function="gelu_python")]),
    "other_names": ("gpt2", {}, [set_keys(n_embd=..., hidden_size=24, n_layer=..., num_hidden_layers=2, n_head=..., num_attention_heads=3,
                                          n_positions=..., max_position_embeddings=20)]),
    "warned_other_names_too": ("gpt2", {}, [set_keys(num_attention_heads=4)]),
    # Heads that are tied, and stored in several ways.
    **{f"{how}_{family}": (family, {"tie_word_embeddings": True}, [change])
       for family in FAMILIES for how, change in (("as_module", save_as_module), ("head_alone", change_tensors(head_alone)),
                                                  ("same_head", change_tensors(same_head)), ("warned_another_head", change_tensors(another_head)))},
    **{f"base_{family}": (family, {"tie_word_embeddings": True}, [change_tensors(without_prefix)]) for family in FAMILIES},
}


def make(out, seed):
    for number, (name, (family, keys, changes)) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(1000 * seed + number)
        config = type(FAMILIES[family]).from_dict({**FAMILIES[family].to_dict(), **keys})
        model = AutoModelForCausalLM.from_config(config).eval()
        randomise(model, generator)
        model.save_pretrained(out / name)
        for change in changes:
            change(out / name, model)
        model = AutoModelForCausalLM.from_pretrained(out / name, dtype=torch.float32).eval()
        tokens = torch.randint(config.vocab_size, (3, 17), generator=generator)
        with torch.no_grad():
            logits = model.double()(tokens).logits
        save_file({"tokens": tokens, "logits": logits.float()}, out / name / "expected.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where the directories are written")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    make(arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
