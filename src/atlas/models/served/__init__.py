"""Servers of models that atlas starts and ends itself."""
