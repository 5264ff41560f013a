"""What went wrong or right in a run: rules on what it has recorded, and on its weights, rows and activations."""
