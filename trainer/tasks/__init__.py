"""Tasks: the loss, metrics and artifacts of a training problem, selected by ``_target_``.

May import utils, core, metrics, config, optim, ``models.layers``, the shared modules of data, ``tasks.base``,
``tasks.losses`` and ``tasks.evaluation``; a task imports no other task.
"""
