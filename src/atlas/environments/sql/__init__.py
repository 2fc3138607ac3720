"""Questions about databases: guarded SQLite, generated tables and questions, and an expert."""
