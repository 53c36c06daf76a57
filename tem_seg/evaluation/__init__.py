"""From predictions.json and dataset.json to metrics."""
