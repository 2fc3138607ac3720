"""Models that answer: over a network, or on this machine."""
