"""From micrographs to predictions.json."""
