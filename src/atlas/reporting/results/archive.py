"""Reads members of a zip archive as streams: nothing is unpacked to the disk.

Python's own reader knows no zstd before 3.14, which new logs of Inspect are packed with.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from atlas.errors import DataError, DependencyError

ZSTD = 93
MAX_WINDOW_BYTES = 1 << 27
# Every member may unpack to this size; more only within the expansion of real logs.
FREE_BYTES = 64 << 20
MAX_EXPANSION = 500
LOCAL_HEADER = struct.Struct("<4s22xHH")


class Archive:
    """An open archive. Use it in a `with`.

    Raises:
        DataError: the file is not a whole archive.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self._file = path.open("rb")
        try:
            self._archive = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            self._file.close()
            raise self._torn(error) from None

    @property
    def names(self) -> list[str]:
        return self._archive.namelist()

    @contextmanager
    def member(self, name: str) -> Iterator[BinaryIO]:
        """The plain bytes of a member.

        Raises:
            DataError: it is damaged, or expands as a decompression bomb does.
            DependencyError: it is packed with zstd, and the package for it is not installed.
        """
        info = self._archive.getinfo(name)
        try:
            with self._open(info) as plain:
                yield io.BufferedReader(_Bounded(plain, info, self._name), 1 << 16)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
            struct.error,
        ) as error:
            raise self._torn(f"{info.filename}: {error}") from None
        except Exception as error:
            if type(error).__name__ != "ZstdError":
                raise
            raise self._torn(f"{info.filename}: {error}") from None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()
        self._file.close()

    def _open(self, info: zipfile.ZipInfo) -> Any:
        if info.compress_type != ZSTD:
            return self._archive.open(info)
        try:
            import zstandard
        except ImportError:
            raise DependencyError("zstandard", "import") from None
        self._file.seek(info.header_offset)
        magic, name_size, extra_size = LOCAL_HEADER.unpack(self._file.read(LOCAL_HEADER.size))
        if magic != b"PK\x03\x04":
            raise zipfile.BadZipFile("no member where the directory names one")
        self._file.seek(name_size + extra_size, io.SEEK_CUR)
        packed: Any = _Part(self._file, info.compress_size)
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        return decompressor.stream_reader(packed, read_across_frames=True)

    def _torn(self, error: object) -> DataError:
        return DataError(
            f"{self._name}: not a whole archive ({error}). It was cut off or damaged: get it again."
        )


class _Part(io.RawIOBase):
    """The next bytes of a file, at most `size`."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


class _Bounded(io.RawIOBase):
    """A stream that ends with an error when it expands as a decompression bomb does."""

    def __init__(self, plain: Any, info: zipfile.ZipInfo, name: str) -> None:
        self._plain, self._name, self._member = plain, name, info.filename
        self._limit = max(FREE_BYTES, MAX_EXPANSION * info.compress_size)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._plain.read(len(buffer))
        buffer[: len(data)] = data
        self._size += len(data)
        if self._size > self._limit:
            raise DataError(
                f"{self._name}: {self._member!r:.80} expands more than {MAX_EXPANSION} times, as a "
                "decompression bomb does. If it is a real log, write it again with inspect log "
                "convert."
            )
        return len(data)
