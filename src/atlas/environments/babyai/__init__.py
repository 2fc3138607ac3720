"""BabyAI in words: view, actions, tasks, and an expert with thoughts."""
