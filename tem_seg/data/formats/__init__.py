"""Particle outlines in the files of other programs: one file a format, all of them in table.py (docs/formats.md)."""
