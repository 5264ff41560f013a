"""Layers shared by several model families, grouped by role."""
