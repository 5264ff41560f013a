"""What a run shows: the console, tables, plots, image grids, snapshots.

May import every package before in the list.
"""
