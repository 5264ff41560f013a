"""The abstractions that everything shares: Task, Dataset, Batch, types, shapes, random numbers.

May import utils and torch.
"""
