"""Runs and their directories: training, resuming, sweeps and the leaderboard.

May import every package except search, inference, export, analysis and cli.
"""
