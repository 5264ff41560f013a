"""Models, one family a file, in a folder for each field; reached through ``_target_``.

May import utils, core, metrics, config, optim and ``models.layers``, never a sibling.
"""
