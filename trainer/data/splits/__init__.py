"""Splits: rows, windows, graphs and pairs made into batches, and how rows are cut into three splits."""
