"""Evaluation: model x tasks of an environment -> episodes and metrics."""
