"""Pages of runs: one self-contained HTML file for a run, or for all runs of a directory.

May import every package except cli.
"""
