"""Lines of text files, plain or compressed, read as a stream and checked to be whole and UTF-8."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import zstandard

from lmscope.core.errors import DataError

_CHUNK_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line with its end-of-line mark, and its number from 1."""

    number: int
    text: str


def read_lines(path: Path) -> Iterator[Line]:
    """Lines of a UTF-8 file; `.gz` and `.zst` files are decompressed on the way.

    A byte order mark at the beginning is left out. One chunk and one line are in memory at a time.

    Raises:
        DataError: The file cannot be opened, is damaged or cut off, or is not UTF-8; the message
            names the line and the byte offset (in the decompressed text).
    """
    offset = 0
    for number, line in enumerate(_split(_chunks(path)), start=1):
        if number == 1 and line.startswith(_BOM):
            line, offset = line[len(_BOM) :], len(_BOM)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"'{path}' is not UTF-8: byte 0x{line[error.start]:02x} at offset "
                f"{offset + error.start} (line {number}). Convert the file, e.g. "
                f"iconv -f LATIN1 -t UTF-8 {path.name} > utf8-{path.name}"
            ) from None
        yield Line(number, text)
        offset += len(line)


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    pending: list[bytes] = []
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*pending, line, b"\n"])
            pending = []
        pending.append(rest)
    if last := b"".join(pending):
        yield last


def _chunks(path: Path) -> Iterator[bytes]:
    read = {".gz": _gzip_chunks, ".zst": _zstd_chunks}.get(path.suffix, _plain_chunks)
    try:
        yield from read(path)
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise DataError(
            f"'{path}' is damaged or cut off ({error}): fetch or compress it again."
        ) from None
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}.") from None


def _plain_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _gzip_chunks(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _zstd_chunks(path: Path) -> Iterator[bytes]:
    # zstandard's own stream reader ends silently where a file is cut off; frames are followed here.
    decompressor = zstandard.ZstdDecompressor()
    frame = None
    for data in _plain_chunks(path):
        while data:
            frame = frame or decompressor.decompressobj()
            if chunk := frame.decompress(data):
                yield chunk
            data = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the last frame does not end")
