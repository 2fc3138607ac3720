"""AgentGym over HTTP: a client for the fourteen servers of the paper, and SearchQA."""
