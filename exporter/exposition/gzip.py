"""Assembles one gzip stream from parts that are each compressed once.

A part is raw deflate that ends on a byte boundary and never refers to earlier data, so parts can be
concatenated into one deflate stream (RFC 1951, 3.2.3). The checksum of the whole is combined from
theirs. All parts are in one gzip member, because many clients read only the first member.
"""

from collections.abc import Sequence
from typing import NamedTuple

from isal import isal_zlib

LEVEL = 1
_RAW = -15
_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"  # gzip, deflate, no name, no time, fastest
_END = b"\x03\x00"  # the last deflate block, empty


class Packed(NamedTuple):
    """Deflated bytes, with checksum and length of the original."""

    deflated: bytes = b""
    crc: int = 0
    size: int = 0


def pack(plain: bytes) -> Packed:
    """Compress ``plain`` into a part."""
    stream = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, _RAW)
    deflated = stream.compress(plain) + stream.flush(isal_zlib.Z_FULL_FLUSH)
    return Packed(deflated, isal_zlib.crc32(plain), len(plain))


def begin(parts: Sequence[Packed]) -> Packed:
    """Return ``parts`` joined, after the header of a gzip body (RFC 1952)."""
    crc = size = 0
    for part in parts:
        crc = isal_zlib.crc32_combine(crc, part.crc, part.size)
        size += part.size
    return Packed(b"".join([_HEAD, *[part.deflated for part in parts]]), crc, size)


def finish(begun: Packed, last: Packed) -> list[bytes]:
    """Return a complete gzip body in two parts: the unchanged result of ``begin``, and the rest."""
    crc = isal_zlib.crc32_combine(begun.crc, last.crc, last.size)
    size = (begun.size + last.size) & 0xFFFFFFFF
    trailer = crc.to_bytes(4, "little") + size.to_bytes(4, "little")
    return [begun.deflated, last.deflated + _END + trailer]
