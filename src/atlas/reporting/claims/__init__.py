"""What may be claimed: differences of arms, verdicts as one family, and their words."""
