"""ALFWorld: household tasks in words, in AgentGym's wording, with an expert that searches."""
