"""Models, one family per file, in a folder per field; selected by ``_target_``.

May import utils, core, metrics, config, optim and ``models.layers``, never a sibling.
"""
