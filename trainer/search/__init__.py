"""Search for the best configuration: spaces, samplers, and runs that are paused and continued.

May import every package except inference, export, analysis and cli.
"""
