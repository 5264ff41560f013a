"""Export of the model of a saved run to files that other programs load.

May import every package except analysis and cli.
"""
