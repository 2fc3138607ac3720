"""Runs -> report: did tuning on critical steps beat training on every step, and how sure is that?

`build_report.build_report` is the stage; `tables.format_main_table` prints its main table on a terminal.
"""
