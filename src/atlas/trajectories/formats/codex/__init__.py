"""Sessions of OpenAI's Codex: the logs that it keeps, and `codex exec --json`."""
