"""How each game is solved with what is known: knowledge -> the next move."""
