"""Running text, documents and translations."""
