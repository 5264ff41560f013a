"""Multimodal data sets."""
