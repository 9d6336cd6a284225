import io
import json

import numpy as np
import pytest
from rich.console import Console

from polyrank.datasets import Data
from polyrank.partitioners.iid import iid
from polyrank.partitioners.splits import ClientRows, Splits, split
from polyrank.planning.partition_table import as_json, print_partition


def data_of(labels, names=None):
    labels = np.asarray(labels, dtype=np.int64)
    x = np.zeros((len(labels), 1), dtype=np.float32)
    names = names or tuple(str(c) for c in range(int(labels.max()) + 1))
    return Data(x, labels, x[:2], labels[:2], names, "by hand")


def rows(*indices):
    return np.array(indices, dtype=np.int64)


DATA = data_of([0, 0, 0, 2, 2, 0, 2, 0, 2, 2])
SPLITS = Splits(
    public=rows(0),
    validation=rows(1, 3),
    clients=(ClientRows("[red]", rows(2, 4), rows(5)), ClientRows("1", rows(6, 8), rows())),
    left_out=rows(7, 9),
)


def drawn(splits, data, width=80, encoding="utf-8"):
    bytes_io = io.BytesIO()
    file = io.TextIOWrapper(bytes_io, encoding=encoding)
    print_partition(splits, data, Console(file=file, width=width))
    file.flush()
    return [line.rstrip() for line in bytes_io.getvalue().decode(encoding).splitlines()]


def test_json_by_hand():
    made = as_json(SPLITS, DATA)
    assert made == json.loads(json.dumps(made))
    assert made["clients"] == [
        {
            "name": "[red]",
            "train": 2,
            "test": 1,
            "train_labels": [1, 0, 1],
            "test_labels": [1, 0, 0],
        },
        {"name": "1", "train": 2, "test": 0, "train_labels": [0, 0, 2], "test_labels": [0, 0, 0]},
    ]
    assert made["public"] == {"rows": 1, "labels": [1, 0, 0]}
    assert made["validation"] == {"rows": 2, "labels": [1, 0, 1]}
    assert made["left_out"] == {"rows": 2, "labels": [1, 0, 1]}
    assert made["test"] == {"rows": 2, "labels": [2, 0, 0]}
    assert made["label_names"] == ["0", "1", "2"]
    assert made["empty_labels"] == [1]
    assert made["source"] == "by hand"


def test_few_labels_are_counts():
    assert drawn(SPLITS, DATA) == [
        "client train test labels 0 1 2",
        "[red]      2    1      2 1 · 1",
        "1          2    0      1 · · 2",
        "2 clients, training rows: smallest 2, median 2, largest 2",
        "public 1, validation 2, left out 2, test 2 rows",
        "labels without training rows: 1",
    ]


def client_of(counts):
    """One client with the given numbers of rows per label."""
    labels = np.repeat(np.arange(len(counts)), counts)
    client = ClientRows("0", np.arange(len(labels)), rows())
    return Splits(rows(), rows(), (client,), rows()), data_of(labels)


def test_many_labels_are_bars():
    """Heights are eighths of the client's largest count, rounded up."""
    lines = drawn(*client_of([800, 0, 1, 100, 101, 400] + [700] * 20))
    assert lines[0] == "client train test labels 0..25"
    assert lines[1].split(maxsplit=4)[4] == "█ ▁▁▂▄" + "▇" * 20
    assert lines[2].startswith("bar: ")


def test_more_labels_than_columns_share_bars():
    lines = drawn(*client_of([3, 1] + [1] * 118))
    assert lines[1].split(maxsplit=4)[4] == "█" + "▅" * 39  # sums of three: 5, 3, 3, ...
    assert "one bar for 3 labels" in lines


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("labels", [1, 5, 10, 77, 1000])
@pytest.mark.parametrize("name", ["a", "a name that is far too long for a table", "名前" * 20])
def test_nothing_is_wider_than_the_console_or_cut(width, labels, name):
    splits, data = client_of([1234] + [7] * (labels - 1))
    named = ClientRows(name, splits.clients[0].train, rows(0))
    lines = drawn(Splits(rows(), rows(), (named,), rows()), data, width)
    assert lines[0].startswith("client")
    assert f" {len(named.train)} " in lines[1]
    assert all(len(line) <= width for line in lines)
    if labels > 1:
        assert lines[1][-1] in "7█▇▆▅▄▃▂▁"


def test_many_clients_are_shown_from_smallest_to_largest():
    data = data_of([0] * 5050)
    starts = np.cumsum(np.arange(101))
    clients = [ClientRows(f"{k}", np.arange(starts[k], starts[k + 1]), rows()) for k in range(100)]
    lines = drawn(Splits(rows(), rows(), tuple(clients[::-1]), rows()), data)
    shown = [int(line.split()[1]) for line in lines[1:41]]
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == (1, 100)
    assert lines[41] == "40 of 100 clients, smallest to largest"
    assert lines[42] == "100 clients, training rows: smallest 1, median 50.5, largest 100"


def test_a_terminal_without_unicode_gets_ascii():
    data = data_of(np.arange(600) % 60)
    lines = drawn(split(data, iid, clients=3, seed=0), data, encoding="ascii")
    assert "#" in lines[1] or "@" in lines[1]
    named = Data(DATA.train_x, DATA.train_y, DATA.test_x, DATA.test_y, ("a", "ö", "c"), "")
    client = ClientRows("Zoë" + "x" * 20, rows(2, 4), rows())
    lines = drawn(Splits(rows(), rows(), (client,), rows()), named, encoding="ascii")
    assert lines[1].startswith(r"Zo\xebxxxxxxxxxx")
    assert lines[1].endswith("1 . 1")
    assert lines[-1] == r"labels without training rows: \xf6"
