"""Questions in a provider's batches: questions -> the provider's batch ids -> answers."""
