"""What data sets are built from: how rows are cut, read, scaled, and judged by trivial rules."""
