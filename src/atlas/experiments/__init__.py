"""Several stages from one recipe: recipe -> run folders -> report."""
