"""Networks that say something of every pixel, and how particles are read from it (docs/models.md)."""
