"""Presenting: tables, plots, Markdown and pages that reports and comparisons share."""
