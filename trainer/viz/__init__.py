"""Output of runs: console, tables, plots, image grids, snapshots and loggers.

May import utils, core, metrics, config, optim, models, data, tasks and engine.
"""
