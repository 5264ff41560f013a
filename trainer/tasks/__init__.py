"""Tasks: what is learned, by which loss, and how it is scored; reached through ``_target_``.

May import what stands before in the list, and ``tasks.base``, ``tasks.losses``, ``tasks.evaluation``, never a sibling.
"""
