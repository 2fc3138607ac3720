"""What a reader must know to judge the numbers."""
