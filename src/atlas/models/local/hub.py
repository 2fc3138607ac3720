"""The Hugging Face Hub: whether a model is to be had from it, found out in seconds.

Its own client tries each file six times before it gives up, which takes minutes where there is no network.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from atlas.errors import DependencyError, ModelError

ATTEMPTS = (
    2  # each as long as HF_HUB_ETAG_TIMEOUT allows: a slow network gets the time that it always had
)
PAUSE_SECONDS = 1.0


@cache  # a process asks once
def is_only_cached(location: str) -> bool:
    """Whether a model has to come from the cache, because the hub does not answer; False for a folder.

    Raises:
        ModelError: nor is it in the cache.
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
        try:
            get_hf_file_metadata(hf_hub_url(location, "config.json"))
            return False
        except (HfHubHTTPError, HFValidationError):
            return False  # an answer, or no name for a model: who loads it says what is wrong
        except Exception as error:  # the transport's: httpx's or httpx2's, by version of the client
            reason = error
        if attempt < ATTEMPTS - 1:
            time.sleep(PAUSE_SECONDS)
    if (
        Path(constants.HF_HUB_CACHE)
        / repo_folder_name(repo_id=location, repo_type="model")
        / "snapshots"
    ).is_dir():
        return True
    raise ModelError(
        f"{location} is no folder here and not in the cache, and {constants.ENDPOINT} cannot be reached: {reason}. "
        "Check the name and the connection, or give a folder."
    )
