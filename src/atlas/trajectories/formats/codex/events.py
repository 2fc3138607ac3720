"""Events and settings in the sessions of Codex: what is known to be no part of a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

# Events that repeat a text of an item, and where the text stands.
COPY_KEYS = {
    "user_message": "message",
    "agent_message": "message",
    "agent_reasoning": "text",
    "agent_reasoning_raw_content": "text",
}
# Further events: copies of calls and results, progress, settings, usage.
EVENTS = frozenset(
    (
        *("task_started", "task_complete", "turn_started", "turn_complete", "turn_diff"),
        *("token_count", "context_compacted", "warning", "background_event", "stream_error"),
        *("exec_command_begin", "exec_command_end", "exec_command_output_delta"),
        *("exec_approval_request", "apply_patch_approval_request", "request_permissions"),
        *("patch_apply_begin", "patch_apply_end", "patch_apply_updated", "terminal_interaction"),
        *("mcp_tool_call_begin", "mcp_tool_call_end", "mcp_startup_update", "mcp_startup_complete"),
        *("web_search_begin", "web_search_end", "view_image_tool_call", "plan_update"),
        *("image_generation_begin", "image_generation_end", "plan_delta", "model_reroute"),
        *("dynamic_tool_call_request", "dynamic_tool_call_response", "elicitation_request"),
        *("item_started", "item_completed", "raw_response_item", "session_configured"),
        *("entered_review_mode", "exited_review_mode", "guardian_assessment"),
        *("undo_started", "undo_completed", "thread_name_updated", "thread_goal_updated"),
        *("thread_settings_applied", "deprecation_notice", "shutdown_complete"),
        *("collab_agent_spawn_begin", "collab_agent_spawn_end", "collab_waiting_begin"),
        *("collab_waiting_end", "collab_close_begin", "collab_close_end", "sub_agent_activity"),
        *("collab_agent_interaction_begin", "collab_agent_interaction_end"),
        *("collab_resume_begin", "collab_resume_end", "hook_started", "hook_completed"),
        *("agent_message_delta", "agent_reasoning_delta", "agent_reasoning_section_break"),
        *("agent_message_content_delta", "reasoning_content_delta"),
        *("reasoning_raw_content_delta", "agent_reasoning_raw_content_delta"),
    )
)
INSTRUCTIONS = ("instructions", "user_instructions", "developer_instructions")
LINES_OF_SETTINGS = ("session_meta", "turn_context")
# Fields of the metadata of a session and of the settings of a turn. Instructions are not among
# them: they are reported unless an item repeats them.
SETTINGS = frozenset(
    (
        *("id", "session_id", "timestamp", "cwd", "originator", "cli_version", "source"),
        *("thread_source", "history_mode", "model_provider", "memory_mode", "context_window"),
        *("git", "forked_from_id", "parent_thread_id", "agent_nickname", "agent_role"),
        *("agent_path", "history_base", "subagent_history_start_ordinal", "timezone"),
        *("forked_from_ordinal_exclusive", "turn_id", "root_turn_id", "workspace_roots"),
        *("current_date", "approval_policy", "approvals_reviewer", "sandbox_policy"),
        *("file_system_sandbox_policy", "permission_profile", "active_permission_profile"),
        *("network", "network_policy", "model", "effort", "summary", "personality"),
        *("collaboration_mode", "multi_agent_mode", "multi_agent_version", "realtime_active"),
        *("comp_hash", "truncation_policy", "trace_id", "ordinal", "type"),
    )
)
# Texts of events that are searched for in longer texts.
MAX_SEARCHED = 50


def remarks_on_copies(
    events: Mapping[str, Sequence[str]], texts: Sequence[str | None]
) -> Iterator[str]:
    """Remarks on texts of events that no text of an item holds.

    Args:
        events: the texts of each kind of event.
        texts: those of the items.
    """
    whole = [text for text in texts if text]
    known = {piece.strip() for text in whole for piece in (text, *text.split("\n\n"))}
    joined: str | None = None
    for name, given in events.items():
        missing = [text.strip() for text in given if text.strip() not in known]
        if missing and joined is None:
            joined = "\0".join(whole)
        number = sum(
            index >= MAX_SEARCHED or text not in (joined or "")
            for index, text in enumerate(missing)
        )
        if number:
            yield f"{number} texts in events of type '{name}' stand in no item and are left out"
