"""Splits of rows, windows, images, graphs and pairs, and train/validation/test splitting."""
