"""Train any neural network from a configuration."""
