"""Sequence data sets with one label per sequence or one per step."""
