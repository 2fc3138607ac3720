"""What a recall of OpenHands brings into the context: `extras -> text`.

The wording that OpenHands puts around it in the prompt is not in the log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atlas.trajectories.formats.fields import object_or_empty, text_or_none

# Facts of the workspace that the prompt names; then its texts.
WORKSPACE_FACTS = ("repo_name", "repo_directory", "repo_branch", "date", "working_dir")
WORKSPACE_TEXTS = (
    "repo_instructions",
    "additional_agent_instructions",
    "conversation_instructions",
)


def workspace_text(extras: Mapping[str, Any]) -> str:
    """Facts of the workspace, then instructions, then knowledge."""
    facts = [f"{key}: {extras[key]}" for key in WORKSPACE_FACTS if text_or_none(extras.get(key))]
    for key in ("runtime_hosts", "custom_secrets_descriptions"):
        if isinstance(extras.get(key), dict) and extras[key]:
            facts.append(f"{key}: {json.dumps(extras[key], ensure_ascii=False)}")
    texts = [text for key in WORKSPACE_TEXTS if (text := text_or_none(extras.get(key)))]
    knowledge = extras.get("microagent_knowledge")
    for known in knowledge if isinstance(knowledge, list) else []:
        if text := text_or_none(object_or_empty(known).get("content")):
            texts.append(text)
    return "\n\n".join((["\n".join(facts)] if facts else []) + texts)
