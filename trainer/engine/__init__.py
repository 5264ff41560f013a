"""The training loop and its parts, and the factory that builds them from a configuration.

May import every package before in the list, but no model, data set or task by name.
"""
