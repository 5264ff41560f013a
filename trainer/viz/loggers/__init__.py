"""Loggers: metrics of steps and epochs, configuration and pictures of a run, for the tool one looks at them with."""
