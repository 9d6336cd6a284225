import gzip

import pytest

from polyrank.datasets.csv import csv
from polyrank.errors import DataError


@pytest.fixture
def written(tmp_path):
    def write(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_integers_name_the_labels_and_empty_texts_are_texts(written):
    data = csv(written('text,label\nhello,2\n"",0\nNA,0\n"a, ""b""\nc",2\n'))
    assert data.train_x.tolist() == ["hello", "", "NA", 'a, "b"\nc']
    assert data.train_y.tolist() == [1, 0, 0, 1]
    assert data.label_names == ("0", "2")
    assert len(data.test_y) == 0


def test_numbers_are_sorted_as_numbers_over_both_files(written):
    data = csv(
        written("text,label\na,10\nb,0\nc,05\n"), test_path=written("text,label\nd,7\n", "t")
    )
    assert data.label_names == ("0", "5", "7", "10")
    assert (data.train_y.tolist(), data.test_y.tolist()) == ([3, 0, 1], [2])


def test_other_labels_are_numbered_in_sorted_order(written):
    data = csv(written("text,label\na,yes\nb, no\nc,yes \nd,10\n"))
    assert data.label_names == ("10", "no", "yes")
    assert data.train_y.tolist() == [2, 1, 2, 0]


def test_options_name_the_columns(written):
    train = written("id,who,question,kind\n1,ann,a,x\n2,bob,b,y\n3,ann,c,x\n")
    test = written("kind,question\nz,t\ny,u\n", "test.csv")
    data = csv(train, text="question", label="kind", group="who", test_path=test)
    assert data.train_x.tolist() == ["a", "b", "c"]
    assert data.train_groups.tolist() == ["ann", "bob", "ann"]
    assert data.test_x.tolist() == ["t", "u"]
    assert data.label_names == ("x", "y", "z")
    assert data.test_y.tolist() == [2, 1]


def test_prompts_with_completions_need_no_labels(written):
    path = written('completion,site,prompt\n" 4",a,2 + 2 =\n,b,Say nothing:\n')
    data = csv(path, group="site")
    assert data.train_x.tolist() == [
        {"prompt": "2 + 2 =", "completion": " 4"},
        {"prompt": "Say nothing:", "completion": ""},
    ]
    assert (data.train_y.tolist(), data.label_names, data.labelled) == ([0, 0], ("0",), False)
    assert data.train_groups.tolist() == ["a", "b"]


def test_prompts_with_completions_under_other_names_and_with_labels(written):
    train = written("ask,answer,text,topic\na,b,c,x\n")
    test = written("topic,answer,ask\ny,d,e\n", "test.csv")
    data = csv(train, prompt="ask", completion="answer", label="topic", test_path=test)
    assert data.train_x.tolist() == [{"prompt": "a", "completion": "b"}]
    assert data.test_x.tolist() == [{"prompt": "e", "completion": "d"}]
    assert (data.label_names, data.labelled) == (("x", "y"), True)


def test_texts_need_no_labels_and_are_chosen_by_name(written):
    path = written("prompt,completion,text\na,b,c\n")
    data = csv(path, text="text")
    assert (data.train_x.tolist(), data.labelled) == (["c"], False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "lable"}, "expected a column 'lable' in the first line, got text, ask"),
        ({"prompt": "ask"}, "expected a column 'completion' in the first line, got text, ask"),
        ({"text": "text", "prompt": "ask"}, "one column of texts, or prompt and .*'text' and 'ask"),
        ({"group": "site"}, "expected a column 'site' in the first line, got text, ask"),
    ],
)
def test_columns_that_were_asked_for_must_be_there(written, options, message):
    with pytest.raises(DataError, match=message):
        csv(written("text,ask\na,b\n"), **options)


def test_labels_are_in_both_files_or_in_none(written):
    test = written("text,label\na,0\n", "test.csv")
    with pytest.raises(DataError, match=r"data\.csv: expected a column 'label' .* got text"):
        csv(written("text\na\n"), test_path=test)


def test_gzip_windows_lines_byte_order_mark_and_blank_lines(written):
    content = "\ufefftext,label\r\nä,0\r\n\r\nb,1\r\n".encode()
    data = csv(written(gzip.compress(content), "data.csv.gz"))
    assert data.train_x.tolist() == ["ä", "b"]
    assert data.train_y.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a column 'text' in the first line, got nothing"),
        ("a,b\n1,2\n", "expected a column 'text' in the first line, got a, b"),
        ("text,text,label\n1,2,3\n", "expected a column 'text' .*, got it twice"),
        ("text,label\n", "expected at least one row below the header, got none"),
        ("text,label\na,0\nb\n", "line 3: expected 2 fields, got 1"),
        ("text,label\na,0,9\n", "line 2: expected 2 fields, got 3"),
        ("text,label\na,0\nb,\n", "column 'label': expected a label in every row, row 1"),
        ("text,label\na,-1\nb,0\n", "column 'label': .* got -1 in row 0"),
        ("text,label\na,123456789\n", "0 to 99,999 as labels, got 123456789 in row 0"),
        ('text,label\na,0\n"b,0\nc,1\n', "after line 2: not valid CSV: unexpected end of data"),
        ("sentence,label\na,0\n", "got sentence, label: name it with data.text"),
        ("text;label\na, b;0\n", "'text' .*: expected commas between columns, got ';'"),
        ("a\ttext\nb\tc\n", r"expected commas between columns, got '\\t'"),
        (
            b"text,label\nok,0\n\xe4,0\n",
            "line 3: expected UTF-8, .* perhaps of Latin-1 .*iconv",
        ),
        ("text,label\na,0\n".encode("utf-16"), "line 1: expected UTF-8, .* perhaps of UTF-16"),
    ],
)
def test_what_does_not_fit_is_named(written, content, message):
    path = written(content)
    with pytest.raises(DataError, match=message) as caught:
        csv(path)
    assert path in str(caught.value)


def test_an_empty_group_is_refused(written):
    with pytest.raises(DataError, match="column 'who': expected a group in every row, row 0"):
        csv(written("text,label,who\na,0, \n"), group="who")


def test_damaged_gzip_is_refused(written):
    whole = gzip.compress(b"text,label\n" + b"some text,0\n" * 5000)
    for content in (whole[: len(whole) // 2], b"text,label\na,0\n"):
        with pytest.raises(DataError, match=r"cut\.csv\.gz: .*cannot be read"):
            csv(written(content, "cut.csv.gz"))


def test_a_missing_test_file_is_named(written):
    with pytest.raises(DataError, match=r"data file 'nowhere\.csv'"):
        csv(written("text,label\na,0\n"), test_path="nowhere.csv")
