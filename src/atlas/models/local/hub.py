"""Checks in seconds whether a model is available from the Hugging Face Hub.

Hugging Face's client tries each file six times, which takes minutes without a network.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from atlas.errors import DependencyError, ModelError

# The variable HF_HUB_ETAG_TIMEOUT limits each try.
ATTEMPTS = 2
PAUSE_SECONDS = 1.0


@cache
def is_only_cached(location: str) -> bool:
    """Whether the hub does not answer, so that the model must come from the cache.

    Raises:
        ModelError: the model is not in the cache either.
    """
    try:
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
        from huggingface_hub.file_download import repo_folder_name
    except ImportError:
        raise DependencyError("huggingface-hub", "train") from None

    if constants.HF_HUB_OFFLINE or Path(location).is_dir():
        return False
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE_SECONDS if attempt else 0)
        try:
            get_hf_file_metadata(hf_hub_url(location, "config.json"))
            return False
        except (HfHubHTTPError, HFValidationError):
            # The hub answered, or the name is invalid. Loading then reports what is wrong.
            return False
        except Exception as error:
            # Depending on its version, the client raises errors of httpx or httpx2.
            reason = error
    folder = repo_folder_name(repo_id=location, repo_type="model")
    if (Path(constants.HF_HUB_CACHE) / folder / "snapshots").is_dir():
        return True
    raise ModelError(
        f"{location} is not a folder here and not in the cache, and {constants.ENDPOINT} cannot be "
        f"reached: {reason}. Check the name and the connection, or give a folder."
    )
