"""Tables: what columns become, and what is answered where it is not plain."""

import numpy as np
import pandas as pd
import pytest

from polyrank.datasets import load
from polyrank.datasets.frames import frame_of
from polyrank.datasets.load import check_source
from polyrank.datasets.table import Reading
from polyrank.errors import DataError, SettingsError, UnknownNameError

ROWS = """age,colour,seen,post,site,sick
30,red,1970-01-03,01234,a,yes
,blue,1970-01-02T12:00,00999,b,no
41,red,1970-01-01,01234,a,yes
50,NA,1970-01-05,01234,b,no
"""
NAMES = (
    *("age", "age is missing", "colour = blue", "colour = red", "colour is missing"),
    *("seen", "post = 00999", "post = 01234"),
)
nan = np.nan


@pytest.fixture
def table(tmp_path):
    def read(text, name="t.csv", **options):
        (tmp_path / name).write_text(text)
        return load(str(tmp_path / name), seed=0, test=0.0, options={"target": "sick", **options})

    return read


def column(cells, **options):
    """Read a table of one column beside the target, which alternates."""
    target = ["yes", "no"] * (len(cells) // 2) + ["no"] * (len(cells) % 2)
    frame = frame_of(pd.DataFrame({"c": cells, "y": target}), "t")
    return Reading("y", **options).data(frame, "t")


def test_numbers_dates_codes_categories_and_gaps_become_inputs(table):
    data = table(ROWS, group="site")
    assert data.columns.names == NAMES
    assert data.columns.numbers == (0, 5)
    expected = [
        [30, 0, 0, 1, 0, 2, 0, 1],
        [nan, 1, 1, 0, 0, 1.5, 1, 0],
        [41, 0, 0, 1, 0, 0, 0, 1],
        [50, 0, 0, 0, 1, 4, 0, 1],
    ]
    np.testing.assert_array_equal(data.train_x, np.array(expected, np.float32))
    assert data.train_x.dtype == np.float32
    assert (data.label_names, data.train_y.tolist()) == (("no", "yes"), [1, 0, 1, 0])
    assert data.train_groups.tolist() == ["a", "b", "a", "b"]


def test_csv_parquet_and_a_data_frame_give_the_same(table, tmp_path):
    data = table(ROWS, group="site")
    frame = pd.read_csv(tmp_path / "t.csv", dtype={"post": str}, parse_dates=False)
    frame["seen"] = pd.to_datetime(frame["seen"], format="ISO8601")
    frame.to_parquet(tmp_path / "t.parquet")
    options = {"target": "sick", "group": "site"}
    packed = load(str(tmp_path / "t.parquet"), seed=0, test=0.0, options=options)
    own = Reading("sick", "site").data(frame_of(frame, "frame"), "frame")
    for other in (packed, own):
        assert other.columns == data.columns
        np.testing.assert_array_equal(other.train_x, data.train_x)
        assert other.label_names == data.label_names
        assert other.train_groups.tolist() == data.train_groups.tolist()


def test_a_csv_file_is_a_table_where_the_target_is_named_and_else_texts(tmp_path):
    check_source("rows.csv", {"target": "y", "drop": ["id"]})
    check_source("table:rows.csv", {"target": "y"})
    with pytest.raises(SettingsError, match="unknown option 'drop'"):
        check_source("rows.csv", {"drop": ["id"]})
    with pytest.raises(SettingsError, match="option 'target' is required"):
        check_source("rows.parquet", {})
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"for a table of numbers .* data\.target"):
        load(str(tmp_path / "rows.csv"), seed=0)
    with pytest.raises(UnknownNameError, match="table:PATH"):
        load("rows.xlsx", seed=0)


def test_numbers_are_categories_if_they_are_named_and_all_sites_may_share_a_list(table):
    assert column([1, 2, 1, 2], categories=["c"]).columns.names == ("c = 1", "c = 2")
    data = column(["b", "x", "b", "b"], categories={"c": ["a", "b"]})
    assert data.columns.names == ("c = a", "c = b")
    assert data.train_x.tolist() == [[0, 1], [0, 0], [0, 1], [0, 1]]


def test_a_category_of_the_test_rows_alone_is_no_input(table, tmp_path):
    (tmp_path / "test.csv").write_text("colour,age,sick\ngreen,1,no\nred,,yes\n")
    rows = "age,colour,sick\n1,red,yes\n2,blue,no\n3,red,yes\n"
    data = table(rows, test_path=str(tmp_path / "test.csv"))
    assert data.columns.names == ("age", "colour = blue", "colour = red")
    np.testing.assert_array_equal(data.test_x, [[1, 0, 0], [nan, 0, 1]])
    assert data.test_y.tolist() == [0, 1]


def test_labels_are_sorted_by_their_value_and_1_0_is_1(table):
    assert column([1, 2, 3]).label_names == ("no", "yes")
    frame = pd.DataFrame({"c": range(4), "y": [10.0, -1.0, 2.0, 10.0]})
    data = Reading("y").data(frame_of(frame, "t"), "t")
    assert (data.label_names, data.train_y.tolist()) == (("-1", "2", "10"), [2, 0, 1, 2])
    data = table("x,sick\n1,1.0\n2,0\n3,1\n")
    assert data.label_names == ("0", "1")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["31/12/2024", "01/02/2024"], r"expected dates such as 2024-12-31, got '01/02/2024'"),
        (["1,5", "2,25", "3"], r"expected numbers with a decimal point, got '1,5'"),
        (["1", "2", "unknown", "4"], r"expected numbers, got 'unknown' in row 3: leave the cell"),
        ([f"name {k}" for k in range(101)], r"101 different texts.*data.drop = \['c'\]"),
        ([1.0, np.inf], r"expected numbers up to 1e\+30, got inf in row 2"),
        ([1.0, 1e39], r"expected numbers up to 1e\+30, got 1e\+39 in row 2"),
        (["2024-13-01", "2024-01-01"], r"column 'c': '2024-13-01' is no date"),
    ],
)
def test_a_column_that_is_not_plain_is_answered_with_what_to_do(cells, message):
    with pytest.raises(DataError, match=message):
        column(cells)


def test_missing_values_are_refused_where_that_is_asked_for():
    for cells in ([1.0, nan, 2.0], ["a", "", "b"]):
        assert "c is missing" in column(cells).columns.names
        with pytest.raises(DataError, match="got none in 1 of 3, first in row 2"):
            column(cells, missing="refuse")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "sik"}, r"data.target = 'sik': there is no such column \(did you mean 'sick'"),
        ({"group": "clinic"}, r"data.group = 'clinic': there is no such column"),
        ({"drop": ["id"]}, r"data.drop = 'id'"),
        ({"categories": ["zip"]}, r"data.categories = 'zip'"),
        ({"drop": ["age", "colour", "seen", "post", "site"]}, "expected columns to predict from"),
    ],
)
def test_a_column_that_is_not_there_is_answered(table, options, message):
    with pytest.raises(DataError, match=message):
        table(ROWS, **options)


def test_a_column_has_one_use(table):
    with pytest.raises(SettingsError, match="'site': expected it in one of target, group, drop"):
        table(ROWS, group="site", drop=["site"])


def test_gaps_in_target_and_group_and_numbers_to_be_estimated_are_answered(table):
    with pytest.raises(DataError, match=r"'sick'.*got nothing in 2 of 3, first in row 2"):
        table("x,sick\n1,yes\n2,\n3,NA\n")
    with pytest.raises(DataError, match=r"'site'.*a client in every row, got none in 1 of 2"):
        table("x,site,sick\n1,a,yes\n2,,no\n", group="site")
    rows = "".join(f"{k},{k / 7}\n" for k in range(30))
    with pytest.raises(DataError, match=r"got 30 different numbers in 30 rows: PolyRank tells"):
        table("x,sick\n" + rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",age,sick\n0,3,yes\n", "column 1 has no name, as an index has that pandas wrote"),
        ("age,age,sick\n1,2,yes\n", "columns of different names, got 'age' twice"),
        ("age;sick\n1;yes\n", "expected commas between columns, got ';'"),
        ("a = b,sick\n1,yes\n", "expected a name without"),
        ("age,sick\n", "expected at least one row below the header"),
        ("", "expected a header"),
    ],
)
def test_a_file_that_is_no_table_is_answered(table, text, message):
    with pytest.raises(DataError, match=message):
        table(text)


def test_a_damaged_parquet_file_is_answered(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nothing of the kind PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        load(str(tmp_path / "t.parquet"), seed=0, options={"target": "y"})


def test_files_of_several_clients_share_their_inputs(tmp_path):
    (tmp_path / "a.csv").write_text("age,colour,y\n1,red,0\n,blue,1\n")
    (tmp_path / "b.csv").write_text("colour,age,y\ngreen,5,0\nred,6,1\n")
    paths = [str(tmp_path / f"{name}.csv") for name in "ab"]
    data = load(paths, seed=0, test=0.0, options={"target": "y"})
    assert data.columns.names == (
        *("age", "age is missing", "colour = blue", "colour = green", "colour = red"),
    )
    assert data.columns.numbers == (0,)
    expected = [[1, 0, 0, 0, 1], [nan, 1, 1, 0, 0], [5, 0, 0, 1, 0], [6, 0, 0, 0, 1]]
    np.testing.assert_array_equal(data.train_x, expected)
    assert data.train_groups.tolist() == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("age,colour,y\nold,red,0\nyoung,red,1\n", r"'age': numbers in .*a.csv, categories in"),
        ("colour,y\nred,0\nred,1\n", r"b.csv: expected a column of numbers 'age'"),
        ("age,colour,size,y\n1,red,2,0\n", r"a.csv: expected a column of numbers 'size'"),
    ],
)
def test_files_that_do_not_go_together_are_answered(tmp_path, second, message):
    (tmp_path / "a.csv").write_text("age,colour,y\n1,red,0\n2,blue,1\n")
    (tmp_path / "b.csv").write_text(second)
    with pytest.raises(DataError, match=message):
        load([str(tmp_path / f"{n}.csv") for n in "ab"], seed=0, options={"target": "y"})
