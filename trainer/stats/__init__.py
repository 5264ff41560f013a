"""Statistics of scores over seeds and rows: intervals, comparisons, corrections for several of them.

May import utils, core and metrics.
"""
