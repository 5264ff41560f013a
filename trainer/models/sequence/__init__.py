"""Sequence models over features or tokens."""
