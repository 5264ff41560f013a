"""Augmentations of training rows, on the device."""
