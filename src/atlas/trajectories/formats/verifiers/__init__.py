"""Rollouts of verifiers and prime-rl: results, and traces of verifiers 1."""
