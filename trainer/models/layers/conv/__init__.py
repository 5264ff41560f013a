"""Convolutional blocks for images."""
