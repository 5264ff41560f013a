"""Abstractions shared by all packages: Task, Dataset, Batch, artifacts, types, shapes and random numbers.

May import ``utils`` and torch.
"""
