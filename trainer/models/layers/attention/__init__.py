"""Attention kernels, positional encodings and Transformer blocks."""
