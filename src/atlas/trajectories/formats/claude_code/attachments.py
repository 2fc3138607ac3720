"""What the harness put into the context of the agent: `attachment -> text`.

Recent logs hold the exact words (`rendered`). For older ones `SHOWN` says which fields the agent
saw. The words of some reminders stand in no log; they are counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atlas.trajectories.formats.fields import object_or_empty, text_or_none

# By type: paths of what the agent saw, in order. Fields that are missing are passed over.
SHOWN: dict[str, tuple[str, ...]] = {
    "file": (
        "filename",
        "content.file.filePath",
        "content.file.content",
        "content.file.cells",
        "content.file.outputDir",
    ),
    "already_read_file": ("filename", "content.file.content"),
    "pdf_reference": ("filename",),
    "directory": ("path", "content"),
    "compact_file_reference": ("filename",),
    "edited_text_file": ("filename", "snippet"),
    "edited_image_file": ("filename",),
    "selected_lines_in_ide": ("filename", "content"),
    "opened_file_in_ide": ("filename",),
    "nested_memory": ("path", "content.content"),
    "relevant_memories": ("memories",),
    "memory": ("memories",),
    "ultramemory": ("content",),
    "instructions": ("files",),
    "hook_success": ("content",),
    "hook_additional_context": ("content",),
    "hook_blocking_error": ("hookName", "blockingError.blockingError"),
    "hook_stopped_continuation": ("hookName", "message"),
    "async_hook_response": (
        "response.systemMessage",
        "response.hookSpecificOutput.additionalContext",
    ),
    "skill_listing": ("content",),
    "invoked_skills": ("skills",),
    "agent_listing_delta": ("addedLines", "removedTypes"),
    "mcp_instructions_delta": ("addedBlocks", "removedNames"),
    "deferred_tools_delta": ("addedLines", "removedNames"),
    "mcp_resource": ("uri", "content.contents"),
    "agent_mention": ("agentType",),
    "todo": ("content",),
    "todo_reminder": ("content",),
    "task_reminder": ("content",),
    "task_status": ("description", "status", "deltaSummary", "outputFilePath"),
    "task_progress": ("message",),
    "plan_file_reference": ("planFilePath", "planContent"),
    "diagnostics": ("files",),
    "read_truncation_notice": ("banner",),
    "critical_system_reminder": ("content",),
    "output_style": ("style",),
    "date_change": ("newDate",),
    "total_tokens_reminder": ("text",),
    "batching_reminder_sent": ("text",),
    "silent_turn_reminder": ("text",),
    "bash_output_audience_note": ("text",),
    "teammate_mailbox": ("messages",),
}
# The agent saw a reminder of which the log holds no words.
WITHOUT_WORDS = (
    "plan_mode",
    "plan_mode_exit",
    "plan_mode_reentry",
    "delegate_mode_exit",
    "auto_mode",
    "auto_mode_exit",
    "ultra_effort_enter",
    "ultra_effort_exit",
    "ultrathink_effort",
    "budget_usd",
    "token_usage",
    "verify_plan_reminder",
)
# The same where their list is empty.
EMPTY_REMINDERS = ("todo", "todo_reminder", "task_reminder")
# The agent saw nothing of them.
ATTACHED_NOTICES = (
    "command_permissions",
    "dynamic_skill",
    "hook_non_blocking_error",
    "hook_cancelled",
    "hook_error_during_execution",
    "hook_system_message",
    "hook_permission_decision",
    "structured_output",
    "max_turns_reached",
    "credential_org",
    "deferred_tools_record",
    "model",
    "thinking_stripped",
    "thinking_drop",
)
QUEUED_COMMAND = "queued_command"
# The system prompt and the schemas of the tools.
SNAPSHOT = "prompt_snapshot"


def is_known(kind: Any) -> bool:
    """Whether it is known what the agent saw of attachments of a type."""
    return kind in (*SHOWN, *WITHOUT_WORDS, *ATTACHED_NOTICES, QUEUED_COMMAND, SNAPSHOT)


def content_of_attachment(fields: Mapping[str, Any]) -> str | list[Any]:
    """The content of the message that the agent saw for an attachment; empty where it saw none.

    What the user wrote while a tool ran is given as it is; all else as a reminder.
    """
    attachment = object_or_empty(fields.get("attachment"))
    if attachment.get("type") == SNAPSHOT:
        return ""
    if (rendered := _rendered(fields)) is not None:
        return rendered
    if attachment.get("type") == QUEUED_COMMAND:
        prompt = attachment.get("prompt")
        return prompt if isinstance(prompt, str | list) else ""
    paths = SHOWN.get(str(attachment.get("type")), ())
    texts = [text for path in paths if (text := _text_at(attachment, path))]
    if not texts:
        return ""
    return "\n".join(("<system-reminder>", *dict.fromkeys(texts), "</system-reminder>"))


def is_rendered(fields: Mapping[str, Any]) -> bool:
    """Whether a line holds the exact words that the agent saw."""
    return _rendered(fields) is not None


def parted(attachment: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of an attachment that the agent saw, and the others."""
    kind = attachment.get("type")
    paths = ("systemPrompt", "tools") if kind == SNAPSHOT else SHOWN.get(str(kind), ())
    paths = ("prompt",) if kind == QUEUED_COMMAND else paths
    keys = {path.partition(".")[0] for path in paths}
    shown = {key: value for key, value in attachment.items() if key in keys}
    return shown, {key: value for key, value in attachment.items() if key not in keys}


def snapshot_of(
    attachment: Mapping[str, Any],
) -> tuple[str | None, tuple[dict[str, Any], ...] | None]:
    """The system prompt and the tools of a snapshot, None where it has none."""
    given, tools = attachment.get("systemPrompt"), attachment.get("tools")
    parts = given if isinstance(given, list) else [given]
    texts = [
        part if isinstance(part, str) else text_or_none(object_or_empty(part).get("text"))
        for part in parts
    ]
    system = "\n\n".join(text for text in texts if text) or None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return system, None
    return system, tuple(tools)


def _rendered(fields: Mapping[str, Any]) -> str | list[Any] | None:
    rendered = fields.get("rendered")
    if not isinstance(rendered, list):
        return None
    contents = [object_or_empty(part).get("content") for part in rendered]
    texts = [content for content in contents if isinstance(content, str)]
    if len(texts) == len(contents):
        return "\n".join(texts)
    blocks: list[Any] = []
    for content in contents:
        if isinstance(content, list):
            blocks += content
        elif content is not None:
            blocks.append(content)
    return blocks


def _text_at(attachment: Mapping[str, Any], path: str) -> str:
    """The text at a path; lists of texts as lines, other values as JSON."""
    value: Any = attachment
    for key in path.split("."):
        # An older spelling: the text stands where its object stood.
        if isinstance(value, str):
            return value
        value = object_or_empty(value).get(key)
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "\n".join(value)
    return json.dumps(value, ensure_ascii=False)
