"""Samples of the model to be tuned at the states of an expert, kept in the run folder."""
