"""AgentGym's wording of TextCraft."""
