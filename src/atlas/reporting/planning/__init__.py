"""How many tasks and seeds a comparison needs: `atlas plan`."""
