"""Worlds of verifiers."""
