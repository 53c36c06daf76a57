"""Micrographs, datasets and results on disk."""
