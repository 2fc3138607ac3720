"""Episodes and trainings -> numbers: success, budgets, failures, base skills, curves."""
