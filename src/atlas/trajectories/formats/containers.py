"""What a file is wrapped in, told by its first bytes and never by its name: `path -> stream of plain bytes`.

Streams are unpacked as they are read, so a small file that unpacks to terabytes costs time and no memory.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from atlas.errors import DependencyError

Kind = Literal["plain", "gzip", "bzip2", "zstd", "xz", "zip", "parquet", "utf-16"]
MAGIC: dict[bytes, Kind] = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PAR1": "parquet",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
ZSTD_CHUNK = 2048  # packed bytes at a time: they unpack to 64 MiB at worst
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".zst", ".xz")


class TornFileError(ValueError):
    """A compressed file that ends early or is damaged; its text is the reason, for people."""


def kind_of(path: Path) -> Kind:
    """What the first bytes say that a file is."""
    with open(path, "rb") as file:
        return kind_of_bytes(file.read(8))


def kind_of_bytes(start: bytes) -> Kind:
    for magic, kind in MAGIC.items():
        if start.startswith(magic):
            return kind
    alternates = len(start) >= 4 and any(
        start[at] == start[at + 2] == 0 and start[1 - at] and start[3 - at] for at in (0, 1)
    )
    return (
        "utf-16" if alternates else "plain"
    )  # without a mark of its own, every ASCII character still has a zero byte


@contextmanager
def open_plain(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where it is packed.

    Raises:
        TornFileError: (while reading) the packed data ends early or is damaged.
        DependencyError: the file is zstd and the package for it is not installed.
    """
    kind = kind_of(path)
    try:
        with _open(path, kind) as file:
            yield file
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise TornFileError(f"the {kind} data is damaged or ends early ({error})") from None
    except OSError as error:
        if kind == "plain" or error.errno is not None:
            raise
        raise TornFileError(f"the {kind} data is damaged or ends early ({error})") from None
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        raise TornFileError(f"the {kind} data is damaged or ends early ({error})") from None


def plain_suffix(path: Path) -> str:
    """The suffix of a file name, that of its packing aside: `.jsonl` of `log.jsonl.gz`."""
    return Path(path.stem).suffix if path.suffix in COMPRESSED_SUFFIXES else path.suffix


def _open(path: Path, kind: Kind) -> BinaryIO:
    if kind == "gzip":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if kind == "bzip2":
        return cast(BinaryIO, bz2.open(path, "rb"))
    if kind == "xz":
        return cast(BinaryIO, lzma.open(path, "rb"))
    if kind == "zstd":
        return _open_zstd(path)
    return open(path, "rb")


def _open_zstd(path: Path) -> BinaryIO:
    try:
        import zstandard
    except ImportError:
        raise DependencyError("zstandard", "import") from None
    return io.BufferedReader(
        _ZstdStream(path, zstandard.ZstdDecompressor(max_window_size=1 << 27)), buffer_size=1 << 16
    )


class _ZstdStream(io.RawIOBase):
    """Frames one after the other; unlike the package's own reader it notices a frame that ends early."""

    def __init__(self, path: Path, decompressor: Any) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._decompressor = decompressor
        self._frame: Any = None
        self._packed = b""
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._plain:
            self._packed = self._packed or self._file.read(ZSTD_CHUNK)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("the last frame is not whole")
                return 0
            self._frame = self._frame or self._decompressor.decompressobj()
            self._plain = memoryview(self._frame.decompress(self._packed))
            self._packed = b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._plain))
        buffer[:size], self._plain = self._plain[:size], self._plain[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


def read_up_to(file: BinaryIO, size: int) -> bytes:
    """As many bytes as there are, up to `size`. Those before a tear are given; the next call meets it."""
    parts: list[bytes] = []
    while size > 0:
        try:
            part = file.read1(size)  # type: ignore[attr-defined]
        except Exception:
            if not parts:
                raise
            break
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
