"""AgentGym's wording of the maze."""
