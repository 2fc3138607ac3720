"""Worlds on OpenEnv servers."""
