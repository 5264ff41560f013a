"""Scores of predictions and of generated rows, as pure functions of tensors.

May import utils and core.
"""
