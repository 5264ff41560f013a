"""Tasks: the loss, metrics and artifacts of a training problem, selected by ``_target_``.

May import earlier packages, ``tasks.base``, ``tasks.losses`` and ``tasks.evaluation``; a task imports no other task.
"""
