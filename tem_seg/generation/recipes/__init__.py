"""One material per module."""
