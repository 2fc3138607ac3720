"""The model's part of a state to resume from: its own tensors, each proved by a digest.

The Trainer resumes from the form of `save_pretrained`, which renames and splits tensors for the hub
(experts of MoE models, vision models, Nemotron-H). `load_state_dict` then skips every renamed
tensor, which keeps its value in the base model (huggingface/transformers#48805). Here every tensor
keeps the name that it has in the model.

| file | what it holds |
|---|---|
| weights.safetensors | trained parameters and all buffers; absent for a sharded model |
| digests.json | the SHA-256 of every tensor, also of frozen ones; name -> digest |
| files.json | what proves every other file, written last; a state without it is incomplete |

FSDP and DeepSpeed write the weights of a sharded model in a form of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from atlas.errors import RunError
from atlas.store.record_files import file_digest, write_text

WEIGHTS_FILE, DIGESTS_FILE, SEAL_FILE = "weights.safetensors", "digests.json", "files.json"
# Zip archives, with a checksum of each part.
TORCH_SUFFIXES = (".pt", ".pth", ".bin")
MAX_NAMES = 3


def save_state(
    folder: Path,
    model: Any,
    gathered: Mapping[str, Tensor] | None = None,
    known: Mapping[str, str] | None = None,
) -> None:
    """Write the tensors of `model` and their digests.

    Args:
        gathered: the whole tensors of a sharded model, whose digests are written.
        known: digests of tensors that have not changed, such as those of a frozen base.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = tensors_of(model) if gathered is None else gathered
    if gathered is None:
        frozen = {name for name, one in model.named_parameters() if not one.requires_grad}
        changing = {name: tensor for name, tensor in tensors.items() if name not in frozen}
        save_file(_separate(changing), folder / WEIGHTS_FILE)
    known = known or {}
    unknown = {name: tensor for name, tensor in tensors.items() if name not in known}
    digests = {**known, **digest_tensors(unknown)}
    write_text(folder / DIGESTS_FILE, json.dumps(digests, indent=0, sort_keys=True) + "\n")


def load_state(folder: Path, model: Any) -> None:
    """Put the tensors of a state into a model of the same base, and prove all of its tensors.

    Raises:
        RunError: a parameter or buffer of the model is not the saved one.
    """
    saved = load_file(folder / WEIGHTS_FILE)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in saved.items():
            _put(model, parameters.get(name), name, tensor)
    check_state(folder, tensors_of(model))


def check_state(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Compare tensors with those of the state.

    Raises:
        RunError: a tensor differs, or is missing on one side.
    """
    saved, found = read_digests(folder), digest_tensors(tensors)
    wrong = sorted(
        name for name in saved.keys() | found.keys() if saved.get(name) != found.get(name)
    )
    if wrong:
        raise RunError(
            f"the model cannot be resumed from {folder}: {len(wrong)} of its {len(found)} tensors "
            f"are not the saved ones, among them {name_some(wrong)}. Check that model and versions "
            f"are those of the run's manifest, or remove {folder.parent} to train from the start."
        )


def seal_state(folder: Path) -> None:
    """Write what proves the files of a state, when all of them are there."""
    write_text(folder / SEAL_FILE, json.dumps(_proofs(folder), indent=0, sort_keys=True) + "\n")


def is_intact(folder: Path) -> bool:
    """Whether a state was sealed and its files hold what was saved."""
    try:
        if _proofs(folder) != json.loads((folder / SEAL_FILE).read_text(encoding="utf-8")):
            return False
        digests = read_digests(folder)
        weights = folder / WEIGHTS_FILE
        found = digest_tensors(load_file(weights)) if weights.exists() else {}
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile):
        return False
    return all(digests.get(name) == digest for name, digest in found.items())


def _proofs(folder: Path) -> dict[str, object]:
    """What proves each file: digests, and only the size of tensors in a form of their own."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): _proof(path)
        for path in files
        if path != folder / SEAL_FILE
    }


def _proof(file: Path) -> object:
    if file.suffix in TORCH_SUFFIXES and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"{damaged} is damaged")
            return [[part.filename, part.CRC, part.file_size] for part in archive.infolist()]
    size = file.stat().st_size
    return file_digest(file) if file.suffix == ".json" else size


def read_digests(folder: Path) -> dict[str, str]:
    """The digest of each tensor of a state."""
    digests: dict[str, str] = json.loads((folder / DIGESTS_FILE).read_text(encoding="utf-8"))
    return digests


def tensors_of(model: Any) -> dict[str, Tensor]:
    """Every parameter once, and every buffer, also those that a state dict leaves out."""
    return dict(model.named_parameters()) | dict(model.named_buffers(remove_duplicate=False))


def digest_tensors(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The SHA-256 of type, shape and content of each tensor."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(tensors, pool.map(_digest, tensors.values()), strict=True))


def name_some(names: Iterable[str]) -> str:
    """The first few of some names, as text."""
    listed = list(names)
    more = f" and {len(listed) - MAX_NAMES} more" if len(listed) > MAX_NAMES else ""
    return ", ".join(listed[:MAX_NAMES]) + more


def _digest(tensor: Tensor) -> str:
    found = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    content = tensor.detach().cpu().contiguous()
    if content.is_complex():
        content = torch.view_as_real(content).contiguous()
    if content.numel():
        found.update(content.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _put(model: Any, parameter: Tensor | None, name: str, tensor: Tensor) -> None:
    if parameter is not None and parameter.shape == tensor.shape:
        parameter.copy_(tensor)
        return
    path, _, leaf = name.rpartition(".")
    try:
        buffers = model.get_submodule(path)._buffers
    except AttributeError:
        # The check of all tensors reports it by name.
        return
    if leaf in buffers:
        # A buffer may grow with the sequences seen, and two modules may begin with the same one.
        beside = buffers[leaf] if buffers[leaf] is not None else next(model.parameters())
        buffers[leaf] = tensor.to(beside.device)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU without shared memory, as safetensors requires."""
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        content = tensor.detach().cpu().contiguous()
        place = content.untyped_storage().data_ptr()
        whole = content.untyped_storage().nbytes() == content.numel() * content.element_size()
        separate[name] = content if whole and place not in seen else content.clone()
        seen.add(place)
    return separate
