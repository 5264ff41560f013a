"""Attention, positional encodings and Transformer blocks."""
