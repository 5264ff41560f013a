"""Data sets, one file each or one family of synthetic ones; reached through ``_target_``."""
