"""Multimodal models with one encoder per input."""
