"""Tabular data sets: one row per example, one column per feature."""
