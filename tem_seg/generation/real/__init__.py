"""Real annotated micrographs as material: their particles, backgrounds, or whole images."""
