"""What each trainer supervises, written after its code."""
