"""Sampling, augmentation and the Lightning loop."""
