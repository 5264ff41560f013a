"""Sequences with one label, or a label for every step."""
