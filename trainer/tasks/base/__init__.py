"""Base classes of generative and denoising tasks, teacher forcing, and token checks."""
