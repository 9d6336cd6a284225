import numpy as np
import pytest

from polyrank.errors import DataError
from polyrank.planning import client_csv
from polyrank.planning.client_csv import read_clients

GOOD = b"client,x,max_rank\na,1,4\nb,2.5,8\n"


@pytest.fixture
def read(tmp_path):
    def write_and_read(content):
        path = tmp_path / "clients.csv"
        path.write_bytes(content)
        return read_clients(path)

    return write_and_read


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"\n", b"\n\n"),
        GOOD.rstrip(),
        b"x, client ,max_rank\n1,a,4\n 2.5 ,b,8.0\n",
    ],
)
def test_reads_every_common_dialect(read, content):
    table = read(content)
    assert table.clients == ["a", "b"]
    assert {name: column.tolist() for name, column in table.criteria.items()} == {"x": [1, 2.5]}
    assert table.caps.tolist() == [4, 8]


def test_max_rank_is_optional(read):
    assert read(b"client,x\na,1\n").caps is None


def test_quoted_ids_may_hold_anything(read):
    assert read('client,x\n"a,\n""1""",1\nü,2\n'.encode()).clients == ['a,\n"1"', "ü"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"client,x\na,1\nb,two\n", "line 3, column 'x': expected a finite number, got 'two'"),
        (b"client,x\na,1\nb,\n", "line 3, column 'x': expected a finite number, got ''"),
        (b"client,x\na,nan\n", "line 2, column 'x': expected a finite number, got 'nan'"),
        (b"client,x\na,-inf\n", "line 2, column 'x': expected a finite number, got '-inf'"),
        (b"client,x\na,1e999\n", "line 2, column 'x': expected a finite number, got '1e999'"),
        (b"client,x\na,1_0\n", "line 2, column 'x': expected a finite number, got '1_0'"),
        (
            b"client,x\na,1\nb,2\na,3\n",
            "line 4, column 'client': expected each client once, got 'a'",
        ),
        (b"client,x\na,1\n ,2\n", "line 3, column 'client': expected a client id, got ' '"),
        (b"client,x\na,1\nb\n", "line 3: expected 2 cells, got 1"),
        (b"client,x\na,1,2\n", "line 2: expected 2 cells, got 3"),
        (b"client,x,max_rank\na,1,0\n", "column 'max_rank': expected a whole number from 1 up"),
        (b"client,x,max_rank\na,1,2.5\n", "column 'max_rank': .* got '2.5'"),
        (b"name,x\na,1\n", "line 1: expected a column 'client', got 'name, x'"),
        (b"client;x\na;1\n", "columns are separated by commas"),
        (b"client,x,x\na,1,2\n", "expected a new name for column 3, got 'x'"),
        (b"client,x,\na,1,2\n", "expected a new name for column 3, got ''"),
        (b"client,max_rank\na,1\n", "at least one numeric column beside 'client'"),
        (b"client,x\n", "expected one row per client below the header, got none"),
        (b"", "expected a column 'client'"),
        (b"client,x\na,1\n\xff,2\n", "line 3: expected UTF-8 text"),
        ("client,x\na,1\n".encode("utf-16"), "line 1: expected UTF-8 text"),
        (b'client,x\n"a"b,1\n', "line 2: not readable as CSV"),
        (b'client,x\n"a\nb",1\n\nc,?\n', "line 5, column 'x': expected a finite number"),
    ],
)
def test_fault_is_named_by_file_line_column_and_value(read, content, said):
    with pytest.raises(DataError, match=f"clients.csv.*{said}"):
        read(content)


def test_fault_in_a_later_batch_keeps_its_line(read, monkeypatch):
    monkeypatch.setattr(client_csv, "ROWS_AT_ONCE", 2)
    rows = b"".join(b"c%d,%d\n" % (at, at) for at in range(5))
    assert read(b"client,x\n" + rows).criteria["x"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match=r"line 7, column 'client': .* got 'c0'"):
        read(b"client,x\n" + rows + b"c0,9\n")


def test_numbers_are_read_to_the_last_bit(read):
    numbers = np.random.default_rng(0).random(50)
    rows = "".join(f"c{at},{number!r}\n" for at, number in enumerate(numbers.tolist()))
    assert read(f"client,x\n{rows}".encode()).criteria["x"].tolist() == numbers.tolist()


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: cannot be read: No such file"):
        read_clients(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_clients(tmp_path)
