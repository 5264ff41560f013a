"""Recurrent layers and pooling over steps."""
