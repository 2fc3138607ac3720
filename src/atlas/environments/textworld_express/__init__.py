"""TextWorld-Express: eight small text games in Java, each with an expert that searches."""
