"""What more than one task does."""
