"""The worlds of the ATLaS paper in AgentGym's own wording, played without a server."""
