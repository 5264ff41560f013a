"""Runs and their directories: training, resuming, inference, sweeps and the leaderboard.

May import every package except cli.
"""
