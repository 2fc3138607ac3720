"""Reporting: `evaluations + trainings -> report`, and `selections -> how far they agree`."""
