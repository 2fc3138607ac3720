"""Which later actions use what an observation showed: `trajectory -> value uses -> slice`."""
