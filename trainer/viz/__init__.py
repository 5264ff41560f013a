"""Output of runs: console, tables, plots, image grids, snapshots and loggers.

May import every package before in the list.
"""
