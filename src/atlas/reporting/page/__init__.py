"""The page of a report: its tables, plots and files."""
