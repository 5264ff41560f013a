"""Optimizers over flat vectors, learning-rate schedules, weight initialization.

May import utils, core, metrics and config.
"""
