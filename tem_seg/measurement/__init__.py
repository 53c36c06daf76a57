"""From masks to sizes and shapes with units."""
