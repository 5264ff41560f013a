"""Metrics and plots that several tasks use."""
