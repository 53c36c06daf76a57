"""Contrast: from a scene to relative intensity, and the supports that particles lie on."""
