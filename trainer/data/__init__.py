"""Data sets, their readers, encodings, splits and augmentations.

May import utils, core, metrics and config.
"""
