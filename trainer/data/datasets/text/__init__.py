"""Text data sets: language modeling, document classification and translation."""
