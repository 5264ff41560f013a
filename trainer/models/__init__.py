"""Models, one family a file; reached through ``_target_``."""
