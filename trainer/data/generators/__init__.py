"""Generators of synthetic graphs, points and images."""
