"""Worlds of atlas for other programs: an OpenEnv server, and tasks of Inspect."""
