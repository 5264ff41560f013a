"""The configuration: composed by Hydra, validated against signatures, without importing torch.

May import utils, core and metrics.
"""
