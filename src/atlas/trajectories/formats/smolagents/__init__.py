"""Memories of smolagents."""
