"""Files of named columns: `.npz`, an array for each, and Parquet, a row for each sample."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile
from zlib import error as BadDeflateError  # noqa: N812 - a class

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.errors import HarnessError, did_you_mean

Array = NDArray[Any]


class Column(NamedTuple):
    """Values, and where they are from, for messages."""

    where: str
    values: Array


class Table(NamedTuple):
    """The columns of a file, each read when it is asked for.

    Attributes:
        path: The file.
        names: Of the columns.
        read: Name -> values; a matrix where a column holds lists.
    """

    path: Path
    names: tuple[str, ...]
    read: Callable[[str], Array]

    def column(self, usual: Sequence[str], name: str | None = None, *, option: str = "") -> Column:
        """Read the column of a name, or the first of the usual names.

        Args:
            usual: Looked for when no name is given.
            name: As the user gave it.
            option: What the user may type to give one.

        Raises:
            HarnessError: There is no such column, or it cannot be read.
        """
        found = next((one for one in ((name,) if name else usual) if one in self.names), None)
        if found is None:
            hint = did_you_mean(name, self.names) if name else option and f"name one with {option}"
            raise HarnessError(
                f"{self.path} has no column {name or usual[0]!r}; "
                f"it has {', '.join(sorted(self.names)) or 'none'}",
                hint=hint or None,
            )
        return Column(f"{self.path}: {found}", self.read(found))


def open_columns(path: Path) -> Table:
    """Open a file by what it begins with, whatever it is called.

    Raises:
        HarnessError: It is missing, damaged, or of another sort.
    """
    if not path.is_file():
        raise HarnessError(f"{path} is {'a folder' if path.is_dir() else 'missing'}")
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PAR1":
        return _open_parquet(path)
    if start[:2] == b"PK":
        return _open_npz(path)
    what = "one array, without labels" if start == b"\x93NUM" else "neither .npz nor Parquet"
    raise HarnessError(
        f"{path} is {what}",
        hint="numpy.savez(FILE, embeddings=…, labels=…) writes what is needed",
    )


def _open_npz(path: Path) -> Table:
    with _readable(path):
        arrays = np.load(path, allow_pickle=False)

    def read(name: str) -> Array:
        with _readable(f"{path}: {name}"):
            return arrays[name]

    return Table(path, tuple(arrays.files), read)


def _open_parquet(path: Path) -> Table:
    with _readable(path):
        file = pq.ParquetFile(path)

    def read(name: str) -> Array:
        where = f"{path}: {name}"
        with _readable(where):
            return _plain(file.read([name]).column(name), where)

    return Table(path, tuple(file.schema_arrow.names), read)


def _plain(chunks: pa.ChunkedArray, where: str) -> Array:
    """Return a Parquet column as an array, lists of numbers as the rows of a matrix."""
    if chunks.null_count:
        raise HarnessError(f"{where} is NULL in {chunks.null_count} of {len(chunks)} rows")
    column: Any = (
        pa.concat_arrays(chunks.chunks) if chunks.num_chunks else pa.array([], chunks.type)
    )
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return _matrix(column, where)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    array = column.to_numpy(zero_copy_only=False)
    return array.astype(str) if array.dtype == object else array


def _matrix(lists: Any, where: str) -> Array:  # noqa: ANN401 - pyarrow has no common type of both
    values = lists.flatten()
    if values.null_count:
        raise HarnessError(f"{where} holds {values.null_count} NULLs")
    width = len(values) // max(1, len(lists))
    if any(length != width for length in np.unique(lists.value_lengths().to_numpy(False))):  # noqa: FBT003
        raise HarnessError(f"{where} holds lists of different lengths")
    return values.to_numpy(zero_copy_only=False).reshape(len(lists), width)


@contextmanager
def _readable(where: object) -> Generator[None]:
    """Word what a reader says of a damaged file as one line that names the place."""
    try:
        yield
    except PermissionError:
        raise
    except (
        BadZipFile,
        BadDeflateError,
        pa.ArrowException,
        ValueError,
        EOFError,
        OSError,
        KeyError,
    ) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise HarnessError(f"{where} cannot be read: {said}") from error
