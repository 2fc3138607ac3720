"""τ²-bench's telecom domain in solo mode: native tool calls on a customer's phone and account."""
