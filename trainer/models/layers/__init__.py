"""Layers that more than one family of models is built from, by role."""
