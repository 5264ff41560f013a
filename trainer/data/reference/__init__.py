"""Reference scores: trivial baselines and Bayes-optimal scores."""
