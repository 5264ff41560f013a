"""Graph convolutions, readouts, link decoders and sparse products."""
