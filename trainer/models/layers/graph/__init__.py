"""Graph convolutions, readouts, link decoders and sparse matrix products."""
