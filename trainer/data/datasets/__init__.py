"""Data sets by modality, instantiated through ``_target_``."""
