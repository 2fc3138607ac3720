"""Jericho: classic text adventures that the user has."""
