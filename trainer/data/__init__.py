"""Data sets with their readers, encoders, splits, generators, reference scores and augmentations.

May import utils, core, metrics and config.
"""
