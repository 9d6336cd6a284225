"""What a client's host checks before it connects."""

from pathlib import Path

import pytest

from polyrank.client.agreement import Agreement
from polyrank.engines.nvflare.joining import checked
from polyrank.errors import DataError


def told(path: Path, text: str) -> tuple[int | None, str]:
    path.write_text(text)
    agreement, lines = checked(Agreement("", "", data=str(path)))
    return agreement.rows, lines[0]


@pytest.mark.parametrize("header", ["age,ward,outcome", "note,verdict,year", "text,label,year"])
def test_rows_are_counted_though_only_a_run_says_what_their_columns_mean(tmp_path, header):
    rows, line = told(tmp_path / "rows.csv", f"{header}\n1,2,3\n4,5,6\n")
    assert rows == 2
    assert f"2 rows of {header.replace(',', ', ')};" in line


def test_rows_that_cannot_be_read_are_refused_before_anything_connects(tmp_path):
    with pytest.raises(DataError, match=r"rows.csv: line 2: expected 2 fields, got 3"):
        told(tmp_path / "rows.csv", "text,label\n1,2,3\n")
