"""Programs that run an exported ONNX file without torch; an export has a copy of one of them as ``predict.py``.

They import NumPy, and those modules of this package that import no torch; an export has a copy of these, too.
"""
