"""Logs of Claude Code: the session logs that it keeps, and its `stream-json` output."""
