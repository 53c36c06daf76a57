"""Sweeps: many runs of one command, and what they found (docs/sweeps.md)."""
