"""What several tasks share: generation, denoising, teacher forcing, checks of tokens."""
