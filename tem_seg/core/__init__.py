"""Types, geometry, units, seeds and provenance. Imports nothing of the package."""
