"""Worlds of Gymnasium with text."""
