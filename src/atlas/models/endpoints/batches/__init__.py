"""Questions that travel in batches: `transport` gathers and waits, a file per provider knows its protocol, `ledger` outlives all."""
