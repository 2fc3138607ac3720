"""Terminal: progress bars, and text that is safe to show."""
