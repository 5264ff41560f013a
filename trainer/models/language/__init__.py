"""Models of text: documents, language models, translation."""
