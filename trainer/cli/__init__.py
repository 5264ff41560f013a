"""The command ``train``: subcommands, their arguments, help and lists.

May import every package.
"""
