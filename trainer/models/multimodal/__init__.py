"""Models that fuse inputs of several kinds."""
