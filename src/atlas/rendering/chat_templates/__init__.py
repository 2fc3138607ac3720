"""Chat templates that write tool calls, for models whose own template does not."""
