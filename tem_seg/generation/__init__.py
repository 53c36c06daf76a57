"""Synthetic micrographs: scene, rendering, imaging, dataset store."""
