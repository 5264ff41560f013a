"""Questions about runs before and after training: what one will cost, and what went wrong or right.

May import every package except report and cli.
"""
