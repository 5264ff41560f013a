"""Loggers: send step and epoch metrics, the configuration and figures of a run to tracking tools."""
