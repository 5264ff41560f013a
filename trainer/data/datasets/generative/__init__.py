"""Points of known density, for generative models."""
