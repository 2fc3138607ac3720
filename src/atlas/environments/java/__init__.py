"""Worlds that are Java programs: one Java process for all worlds of a kind."""
