"""Language models: document classification, language modeling, translation."""
