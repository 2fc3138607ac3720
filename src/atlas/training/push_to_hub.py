"""checkpoint -> a repository of the Hugging Face Hub, on request, once the run is finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from atlas.errors import ConfigError, HubError
from atlas.models.local.load import CHECKPOINT_FOLDER, import_transformers
from atlas.store.record_files import write_text
from atlas.store.run_folders import Manifest

# Where the checkpoint went. It is written after the run is finished, so it is not an output.
PUSHED_FILE = "pushed.json"


def check_push(repository: str) -> None:
    """Check before the training that the name is valid and that there is a token.

    Raises:
        ConfigError: the push would certainly fail.
    """
    import_transformers()
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ConfigError(
            f"push_to_hub={repository!r} is not a name of a repository: {error} Give it as "
            "owner/name."
        ) from None
    if get_token() is None:
        raise ConfigError(
            f"push_to_hub={repository} needs a token of the hub. Log in with: hf auth login, or "
            "set HF_TOKEN."
        )


def push_checkpoint(run: Path, manifest: Manifest, repository: str, private: bool) -> None:
    """Upload the checkpoint of a finished run, unless this run was pushed there already.

    Raises:
        HubError: the hub refused; the run is kept, and the same command pushes again.
    """
    import_transformers()
    from huggingface_hub import HfApi

    pushed = {"repository": repository, "digest": manifest.digest}
    if _read(run / PUSHED_FILE) == pushed:
        return
    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=run / CHECKPOINT_FOLDER,
            commit_message=f"ATLaS run {manifest.digest[:12]}",
        )
    except Exception as error:
        # A network fails in many ways, each with its own exception.
        lines = (line.strip() for line in str(error).splitlines())
        reason = next(filter(None, lines), type(error).__name__).rstrip(".")
        raise HubError(
            f"{run} is finished and kept, but its checkpoint could not be pushed to {repository}: "
            f"{reason}. Run the same command again to push it; nothing is trained again."
        ) from error
    write_text(run / PUSHED_FILE, json.dumps(pushed) + "\n")


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
