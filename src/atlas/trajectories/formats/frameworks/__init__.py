"""Messages as any framework records them, for traces and callbacks."""
