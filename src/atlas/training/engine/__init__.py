"""The exact engine: the loss and gradients of the plain path at a lower cost."""
