"""CSV files that people write by hand: a header, columns by name, every mistake with its file."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamer.errors import DatasetError


def read_rows(path: Path, needed: Sequence[str]) -> list[tuple[int, Mapping[str, str]]]:
    """(line number, row) of a CSV file with a header that has at least the columns `needed`.

    Raises:
        DatasetError: it cannot be read or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [str(name).strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            missing = [name for name in needed if name not in columns]
            if missing:
                raise DatasetError(
                    f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; its first line "
                    f"must name at least {','.join(needed)} (found: {','.join(columns) or 'nothing'})"
                )
            return [(reader.line_num, _by_column(row)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as a CSV file ({error}); save it as UTF-8 text") from error


def _by_column(row: Mapping[Any, Any]) -> dict[str, str]:
    """A row without what stands beyond the columns, absent cells empty."""
    return {str(key): (value or "").strip() for key, value in row.items() if isinstance(key, str)}
