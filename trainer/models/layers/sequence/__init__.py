"""Recurrent layers, instance normalization and sequence pooling."""
