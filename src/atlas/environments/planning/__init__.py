"""Planning puzzles in words: domains in PDDL, generated problems, a planner, and an expert."""
