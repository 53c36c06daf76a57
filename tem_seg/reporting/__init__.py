"""Figures, tables and the HTML report, drawn from files."""
