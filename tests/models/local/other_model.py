"""A second tiny model: the tokenizer of the first, other weights."""

from __future__ import annotations

from pathlib import Path


def other_model(like: Path, folder: Path, seed: int = 1) -> Path:
    import torch
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    torch.manual_seed(seed)
    LlamaForCausalLM(AutoConfig.from_pretrained(like)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(like).save_pretrained(folder)
    return folder
