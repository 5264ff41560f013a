"""Configuration: composed by Hydra and validated against class signatures, without importing torch.

May import utils, core and metrics.
"""
