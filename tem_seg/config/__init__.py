"""Typed schema of every key, checks and builders."""
