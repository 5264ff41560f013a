"""Tasks: what is learned. Reached through ``_target_``."""
