"""Bytes in the IDX format."""

from __future__ import annotations

import gzip
import struct


def zipped(data: bytes) -> bytes:
    """Compress without a timestamp: parametrize ids may contain the bytes."""
    return gzip.compress(data, mtime=0)


def idx(values: bytes, *shape: int, magic: bytes = b"\0\0\x08") -> bytes:
    return magic + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values
