"""The training loop and its parts, and the factory that builds them from a configuration.

May import utils, core, metrics, config, optim, models, data and tasks, but no model, data set or task by name.
"""
