"""Training files or runs -> what a trainer would supervise in them."""
