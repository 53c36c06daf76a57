"""One foreign dataset or file family per module."""
