"""Recognizes compression and encoding of a file from its first bytes, not from its name.

Streams are unpacked as they are read, which costs no memory. A file that unpacks to far more than
agent logs do is a decompression bomb, and reading it ends.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, BinaryIO, Literal

from atlas.errors import DependencyError

Container = Literal["plain", "gzip", "bzip2", "zstd", "xz", "zip", "parquet", "utf-16"]
MAGIC: dict[bytes, Container] = {
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
BUFFER_BYTES = 1 << 16
# Compressed bytes per read; they unpack to at most 64 MiB.
ZSTD_CHUNK = 2048
# Text compresses 3 to 50 times, and logs that repeat their history up to about 200 times.
MAX_EXPANSION = 500
# Every file may unpack to this size, whatever its expansion.
FREE_BYTES = 64 << 20
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".zst", ".xz")


class TornFileError(ValueError):
    """A compressed file that cannot be read to its end; its text is the reason, for people."""

    def __init__(self, reason: str, advice: str = "Get the file again.") -> None:
        super().__init__(reason)
        self.advice = advice


def container_of(start: bytes) -> Container:
    """The container that the first bytes of a file indicate."""
    for magic, container in MAGIC.items():
        if start.startswith(magic):
            return container
    # UTF-16 without its mark: every ASCII character has a zero byte.
    alternates = len(start) >= 4 and any(
        start[at] == start[at + 2] == 0 and start[1 - at] and start[3 - at] for at in (0, 1)
    )
    return "utf-16" if alternates else "plain"


def unpack(file: BinaryIO, container: Container) -> BinaryIO:
    """The plain bytes of a file as a stream that can go back to its start.

    Raises:
        DependencyError: the file is zstd and the package for it is not installed.
    """
    unpackers: dict[Container, Callable[[BinaryIO], Any]] = {
        "gzip": lambda packed: gzip.GzipFile(fileobj=packed),
        "bzip2": bz2.BZ2File,
        "xz": lzma.LZMAFile,
        "zstd": _unpack_zstd,
    }
    if container not in unpackers:
        return file
    return io.BufferedReader(_Bounded(file, unpackers[container](file), container), BUFFER_BYTES)


@contextmanager
def tears_named(container: Container) -> Iterator[None]:
    """Inside the block, reading damaged or incomplete data raises TornFileError."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise _torn(container, error) from None
    except OSError as error:
        if container == "plain" or error.errno is not None:
            raise
        raise _torn(container, error) from None
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        raise _torn(container, error) from None


def plain_suffix(name: str) -> str:
    """The suffix of a file name without that of its packing: `.jsonl` of `log.jsonl.gz`."""
    path = PurePath(name)
    return PurePath(path.stem).suffix if path.suffix in COMPRESSED_SUFFIXES else path.suffix


def read_up_to(file: BinaryIO, size: int) -> bytes:
    """As many bytes as there are, up to `size`; only a call that begins at a tear meets it."""
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


def _torn(container: Container, error: Exception) -> TornFileError:
    return TornFileError(f"the {container} data is damaged or ends early ({error})")


class _Bounded(io.RawIOBase):
    """An unpacked stream that raises TornFileError when it expands as a decompression bomb does."""

    def __init__(self, packed: BinaryIO, plain: Any, container: Container) -> None:
        self._packed, self._plain, self._container = packed, plain, container
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset or whence:
            raise io.UnsupportedOperation("only to the start")
        self._plain.seek(0)
        self._position = 0
        return 0

    def readinto(self, buffer: Any) -> int:
        size = self._plain.readinto1(buffer)
        self._position += size
        if self._position > FREE_BYTES:
            packed = self._packed.tell()
            if self._position > MAX_EXPANSION * packed:
                raise TornFileError(
                    f"the {self._container} data expands more than {MAX_EXPANSION} times "
                    f"({packed:,} bytes to {self._position:,}), as a decompression bomb does",
                    "If it is a real log, unpack it first.",
                )
        return int(size)


def _unpack_zstd(file: BinaryIO) -> _ZstdStream:
    try:
        import zstandard
    except ImportError:
        raise DependencyError("zstandard", "import") from None
    return _ZstdStream(file, zstandard.ZstdDecompressor(max_window_size=1 << 27))


class _ZstdStream:
    """Frames one after the other; a frame that ends early is an error, as in the other formats."""

    def __init__(self, file: BinaryIO, decompressor: Any) -> None:
        self._file = file
        self._decompressor = decompressor
        self.seek(0)

    def seek(self, offset: int) -> None:
        self._file.seek(offset)
        self._frame: Any = None
        self._packed = b""
        self._plain = memoryview(b"")

    def readinto1(self, buffer: Any) -> int:
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
