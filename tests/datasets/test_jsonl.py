import gzip
import json

import pytest

from polyrank.datasets import load
from polyrank.errors import DataError

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def written(folder, rows, name="rows.jsonl"):
    lines = "\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows)
    (folder / name).write_text(lines + "\n", encoding="utf-8")
    return str(folder / name)


def loaded(path, **options):
    return load(path, seed=0, test=0.0, options=options)


def test_texts_with_labels_and_groups(tmp_path):
    rows = [
        {"text": "gut", "label": "yes", "site": "a"},
        {"text": "", "label": "no", "site": 7},
    ]
    data = loaded(written(tmp_path, rows), group="site")
    assert data.train_x.tolist() == ["gut", ""]
    assert data.train_y.tolist() == [1, 0]
    assert data.label_names == ("no", "yes")
    assert data.train_groups.tolist() == ["a", "7"]
    assert data.labelled


def test_prompts_and_conversations_are_kept_as_they_are(tmp_path):
    pairs = [{"prompt": "2 + 2 =", "completion": " 4", "more": 1}]
    assert loaded(written(tmp_path, pairs)).train_x.tolist() == [
        {"prompt": "2 + 2 =", "completion": " 4"}
    ]
    chats = loaded(written(tmp_path, [{"messages": CHAT}]))
    assert chats.train_x.tolist() == [{"messages": CHAT}]
    assert (chats.train_y.tolist(), chats.label_names, chats.labelled) == ([0], ("0",), False)


def test_a_test_file_and_gzip(tmp_path):
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(b'\n{"text": "one", "label": 1}\n'))
    test = written(tmp_path, [{"text": "two", "label": 0}], "test.jsonl")
    data = loaded(str(packed), test_path=test)
    assert data.train_x.tolist() == ["one"]
    assert (data.test_x.tolist(), data.test_y.tolist()) == (["two"], [0])


def test_one_file_a_client(tmp_path):
    files = [written(tmp_path, [{"text": n}], f"{n}.jsonl") for n in ("north", "south")]
    assert load(files, seed=0, test=0.0).train_groups.tolist() == ["north", "south"]


def test_a_label_that_was_asked_for_must_be_there(tmp_path):
    with pytest.raises(DataError, match="expected 'topic' in every row or in none, row 0 has none"):
        loaded(written(tmp_path, [{"text": "a", "label": "x"}]), label="topic")


def test_files_of_two_forms_and_files_without_labels_do_not_mix(tmp_path):
    text = written(tmp_path, [{"text": "a"}], "text.jsonl")
    pair = written(tmp_path, [{"prompt": "a", "completion": "b"}], "pair.jsonl")
    with pytest.raises(DataError, match=r"of one form, got text; prompt and completion"):
        load([text, pair], seed=0, test=0.0)
    labelled = written(tmp_path, [{"text": "a", "label": 0}], "labelled.jsonl")
    with pytest.raises(DataError, match=r"labels in .*labelled\.jsonl and none in .*text\.jsonl"):
        load([text, labelled], seed=0, test=0.0)
    assert not load([text, written(tmp_path, [{"text": "b"}], "b.jsonl")], seed=0).labelled


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "at least one row"),
        (['{"text": "a"'], "line 1: not valid JSON"),
        (["[1]"], "line 1: expected an object"),
        ([{"words": "a"}], "expected the keys messages; or prompt and completion; or text"),
        ([{"text": "a"}, {"prompt": "b"}], "line 2: expected 'text' as in the first row"),
        ([{"text": 3}], "'text': expected a text, got 3"),
        ([{"messages": []}], "expected a list of objects"),
        ([{"messages": [{"role": "user"}]}], "expected a list of objects"),
        ([{"text": "a", "label": 1}, {"text": "b"}], "row 1 has none"),
        ([{"text": "a", "label": None}], "expected a text or a whole number"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, rows, said):
    path = written(tmp_path, rows) if rows else str(tmp_path / "rows.jsonl")
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(DataError, match=said):
        loaded(path)
