"""Encoders and decoders of raw values: table columns, targets, text, timestamps, series."""
