"""What each supervised token counts in the loss, from the model's own predictions."""
