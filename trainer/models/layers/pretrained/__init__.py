"""Saved models of transformers: their layers, the inputs that they expect, and low-rank adapters."""
