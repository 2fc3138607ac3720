"""AgentGym's wording of BabyAI."""
