"""Metrics and plots shared by several tasks."""
