"""What scores are compared with: trivial baselines and the best possible scores."""
