"""Tabular models: linear models and multi-layer perceptrons."""
