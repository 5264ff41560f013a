"""Use of saved runs: loading, evaluation, prediction, sampling, scores of rows, feature maps.

May import every package except export, analysis and cli.
"""
