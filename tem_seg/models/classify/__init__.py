"""What shape the particles of a micrograph are, or one particle is."""
