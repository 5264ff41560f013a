"""Inputs of several kinds at once."""
