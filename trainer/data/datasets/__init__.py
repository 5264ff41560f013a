"""Data sets, by kind of data; reached through ``_target_``."""
