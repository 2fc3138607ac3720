"""AgentGym's wording of Wordle."""
