"""Helpers that are independent of training: errors, text for terminals, signals, files.

May import the standard library alone.
"""
