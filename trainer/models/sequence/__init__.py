"""Models of sequences of features or tokens."""
