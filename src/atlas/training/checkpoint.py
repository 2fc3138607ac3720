"""The files of a training: states to resume from, and the final checkpoint."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atlas.errors import ModelError, RunError
from atlas.models.local.load import (
    CHECKPOINT_FOLDER,
    ModelPlace,
    load_model,
    processor_files,
    quiet_peft,
)

RESUME_FOLDER = "resume.partial"
# If a write fails with less free space (in bytes) than this, the disk is considered full.
FULL_DISK_BYTES = 2**20
# Tokens on which merged adapters are compared, and the share of the logits that is rounding.
PROVING_TOKENS, MERGING_ROUNDS = 16, 1e-3


def newest_state(folder: Path) -> str | None:
    """The newest complete state. A disk may have damaged one since it was sealed.

    Raises:
        RunError: the only complete states have no digests to prove their weights.
    """
    from atlas.training.states import DIGESTS_FILE, SEAL_FILE, is_intact

    steps = ((state.name.removeprefix("checkpoint-"), state) for state in folder.glob("*-*"))
    numbered = sorted((int(step), state) for step, state in steps if step.isdecimal())
    states = [state for _, state in reversed(numbered) if (state / "trainer_state.json").is_file()]
    if found := next((state for state in states if is_intact(state)), None):
        return str(found)
    proofs = DIGESTS_FILE, SEAL_FILE
    old = next((one for one in states if not any((one / name).exists() for name in proofs)), None)
    if old is not None:
        raise RunError(
            f"{old} was written by an earlier version of atlas and cannot be resumed from: nothing "
            f"proves that its weights are the trained ones. Remove {folder} to train from the "
            "start, or finish the run with the version in its manifest."
        )
    return None


def save_checkpoint(
    folder: Path,
    model: Any,
    weights: dict[str, Any] | None,
    tokenizer: Any,
    card: str,
    base: ModelPlace | None = None,
    merges: bool = False,
) -> None:
    """Write model (safetensors), tokenizer and model card into `folder`, all or nothing.

    What was written is loaded again and compared with the model, because `save_pretrained` writes
    many families under other names than they have here.

    Args:
        weights: the gathered weights of a sharded model; None: the model's own.
        base: the model that was tuned, whose image processor is copied.
        merges: write the sum of base model and adapters as a whole model.

    Raises:
        ModelError: the saved model is not the tuned one, or the sum computes something else.
    """
    temporary, final = folder / f"{CHECKPOINT_FOLDER}.partial", folder / CHECKPOINT_FOLDER
    _save_proved(temporary, model, weights)
    if merges:
        # Base and adapters are added in float32, also if the base was trained on in four bits.
        whole = load_model(ModelPlace(str(temporary), str(temporary)), "float32", "cpu")
        _save_proved(temporary, _merged(whole), None)
    tokenizer.save_pretrained(temporary)
    if base is not None and (merges or not hasattr(model, "peft_config")):
        for file in processor_files(base):
            shutil.copyfile(file, temporary / file.name)
    # This overwrites the card that PEFT writes.
    (temporary / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    temporary.replace(final)


def differing_tensors(
    saved: Path, model: Any, weights: Mapping[str, Any] | None = None
) -> list[str]:
    """Load the model or adapters saved in a folder, and name the tensors that are not `model`'s.

    Args:
        weights: the gathered weights of a sharded model; None: the model's own.
    """
    found: Mapping[str, Any]
    expected: Mapping[str, Any]
    if hasattr(model, "peft_config"):
        found, expected = _adapters(saved, model, weights)
    else:
        loaded = load_model(ModelPlace(str(saved), str(saved)), "float32", "cpu")
        found, expected = loaded.state_dict(), model.state_dict() if weights is None else weights
    return sorted(
        name
        for name in found.keys() | expected.keys()
        if name not in found or name not in expected or not _same(found[name], expected[name])
    )


def _save_proved(temporary: Path, model: Any, weights: dict[str, Any] | None) -> None:
    is_whole = not hasattr(model, "peft_config")
    wrong: list[str] = []
    # The second form has the names of transformers, as the model has them in memory.
    for form in ({}, {"save_original_format": False}) if is_whole else ({},):
        shutil.rmtree(temporary, ignore_errors=True)
        # It removes from the dictionary what it has written.
        options = {} if weights is None else {"state_dict": dict(weights)}
        with quiet_peft():
            model.save_pretrained(temporary, **options, **form)
        if not (wrong := differing_tensors(temporary, model, weights)):
            return
    raise ModelError(
        f"the model saved in {temporary} is not the tuned one: loaded again, {len(wrong)} of its "
        f"tensors differ, among them {', '.join(wrong[:3])}. This version of transformers cannot "
        "save and load this architecture. Install another version, then run the same command: the "
        "training resumes from its last state."
    )


def _merged(adapted: Any) -> Any:
    """The sum of a base model and its adapters, proved by its logits.

    Raises:
        ModelError: the sum computes something else.
    """
    import torch

    adapted.eval()
    ids = torch.arange(adapted.get_input_embeddings().weight.shape[0])[None, -PROVING_TOKENS:]
    with torch.no_grad():
        expected = adapted(input_ids=ids, use_cache=False).logits
        _untie_adapted(adapted.get_base_model())
        with quiet_peft():
            whole = adapted.merge_and_unload()
        found = whole(input_ids=ids, use_cache=False).logits
    if not (found - expected).norm() <= MERGING_ROUNDS * expected.norm():
        raise ModelError(
            "the sum of base model and adapters computes other logits than both do together, so "
            "it was not saved. Set lora.merge=false in another --out, or adapt other layers "
            "(lora.target_modules)."
        )
    return whole


def _untie_adapted(base: Any) -> None:
    """Give the head a separate weight if it shares one with the embedding and either is adapted.

    The adapter of one would be added to both.
    """
    import torch

    ends = base.get_input_embeddings(), base.get_output_embeddings()
    if not any(hasattr(end, "get_base_layer") for end in ends):
        return
    inner = [end.get_base_layer() if hasattr(end, "get_base_layer") else end for end in ends]
    if inner[1] is not None and inner[0].weight is inner[1].weight:
        inner[1].weight = torch.nn.Parameter(inner[1].weight.detach().clone())
        for config in (base.config, base.config.get_text_config()):
            config.tie_word_embeddings = False


def _adapters(
    saved: Path, model: Any, weights: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The adapters in a folder as PEFT loads them, and those of the model, by name."""
    import peft

    if weights is not None:
        expected = peft.get_peft_model_state_dict(model, state_dict=dict(weights))
        return peft.load_peft_weights(str(saved), device="cpu"), expected
    again = "saved"
    with quiet_peft():
        model.load_adapter(str(saved), again)
    try:
        named = dict(model.named_parameters())
        found = {name: one for name, one in named.items() if again in name.split(".")}
        names = {name: name.replace(f".{again}", f".{model.active_adapter}") for name in found}
        expected = {name: named[names[name]] for name in found if names[name] in named}
        trained = {name for name, one in named.items() if one.requires_grad} - found.keys()
        missing = {name: named[name] for name in trained - set(names.values())}
        return {name: one.detach().clone() for name, one in found.items()}, expected | missing
    finally:
        model.delete_adapter(again)


def _same(one: Any, other: Any) -> bool:
    import torch

    return torch.equal(one.detach().cpu().to(other.dtype), other.detach().cpu())


@contextmanager
def full_disk_is_an_os_error(folder: Path) -> Iterator[None]:
    """Convert the errors of safetensors and torch for a full disk to OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if "No space left" in str(error) or shutil.disk_usage(folder).free < FULL_DISK_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise
