#!/usr/bin/env python3
"""Writes small random checkpoints of each family with Hugging Face's `transformers`, and the logits that it computes of them.

    python tests/data/huggingface/make.py [--out DIR] [--seed N]

Each directory is what save_pretrained() writes, and expected.safetensors: tokens [B, T] and logits [B, T, V], computed in
float64 (rotary angles are float32 there all the same) and stored in float32. What is committed here was made with the version
in tools/test_requirements.txt and seed 0; tests/target/huggingface_test.py makes new ones. The shapes are awkward on purpose:
several key heads to a query head, heads wider or narrower than their share, fewer layers than heads, a vocabulary that is prime.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config
from transformers.utils.logging import disable_progress_bar

GPT2 = dict(vocab_size=61, n_positions=20, n_embd=24, n_layer=2, n_head=3, bos_token_id=None, eos_token_id=None)
LLAMA = dict(vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64)

# Directory: the configuration, the dtype on disk, and how save_pretrained() is asked to divide it.
CASES = {
    "gpt2": (GPT2Config(**GPT2), torch.float32, None),
    "gpt2_untied": (GPT2Config(**GPT2, n_inner=33, activation_function="gelu", tie_word_embeddings=False), torch.float16, None),
    "llama": (LlamaConfig(**LLAMA, rope_theta=500.0, rms_norm_eps=1e-5), torch.float32, "20KB"),
    "llama_stretched": (LlamaConfig(**LLAMA, head_dim=10, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                                    rope_parameters={"rope_type": "llama3", "rope_theta": 100.0, "factor": 4.0, "low_freq_factor": 1.0,
                                                     "high_freq_factor": 3.0, "original_max_position_embeddings": 24}),
                        torch.bfloat16, None),
    "llama_linear": (LlamaConfig(**LLAMA, rope_parameters={"rope_type": "linear", "rope_theta": 300.0, "factor": 2.5}),
                     torch.bfloat16, None),
    "qwen2": (Qwen2Config(**LLAMA, tie_word_embeddings=True), torch.bfloat16, "20KB"),
    "qwen3": (Qwen3Config(**LLAMA, head_dim=8, rope_theta=1000.0), torch.bfloat16, None),
}


def randomise(model, generator):
    """Weights large enough that no part of the model is close to doing nothing."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 2:
                parameter.copy_(draw * (0.5 if "wte" in name or "wpe" in name or "embed" in name else 1.5 / parameter.shape[1] ** 0.5))
            elif "norm" in name or "ln_" in name:
                parameter.copy_(draw * 0.2 + (0.0 if name.endswith("bias") else 1.0))
            else:
                parameter.copy_(draw * 0.3)


def make(out, seed):
    for number, (name, (config, dtype, shard)) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(1000 * seed + number)
        model = AutoModelForCausalLM.from_config(config).eval()
        randomise(model, generator)
        model.to(dtype).save_pretrained(out / name, max_shard_size=shard or "5GB")
        # Read back, the logits are those of what is on disk, and rotary frequencies were not rounded to its dtype.
        model = AutoModelForCausalLM.from_pretrained(out / name, dtype=torch.float32).eval()
        tokens = torch.randint(config.vocab_size, (3, 17), generator=generator)
        with torch.no_grad():
            logits = model.double()(tokens).logits
        save_file({"tokens": tokens, "logits": logits.float()}, out / name / "expected.safetensors")
        (out / name / "generation_config.json").unlink(missing_ok=True)
        print(f"{out / name}: {sum(file.stat().st_size for file in (out / name).iterdir())} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the directories are written (default: here)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    disable_progress_bar()
    make(arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
