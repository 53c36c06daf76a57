"""Scenes: what particles look like from above and where they lie, in nm."""
