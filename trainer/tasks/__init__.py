"""Tasks: the loss, metrics and artifacts of a training problem, selected by ``_target_``.

A task may import earlier packages and ``tasks.base``, ``tasks.losses`` and ``tasks.evaluation``, but no other task.
"""
