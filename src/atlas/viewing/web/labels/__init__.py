"""Labels of people: an append-only file of edits, and what follows from it."""
