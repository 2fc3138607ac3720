"""Runs of OpenHands: events of both eras, rows of evaluations, completion logs."""
