"""Tasks: the loss, the metrics and the artifacts of a training problem; selected by ``_target_``.

May import what stands before in the list, and ``tasks.base``, ``tasks.losses``, ``tasks.evaluation``, never a sibling.
"""
