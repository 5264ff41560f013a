"""Synthetic distributions with known density for generative models."""
