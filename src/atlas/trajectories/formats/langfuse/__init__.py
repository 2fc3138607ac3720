"""Traces and observations of Langfuse."""
