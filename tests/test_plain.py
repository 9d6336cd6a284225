"""Names from elsewhere, wherever they are printed or written."""

import csv
import io
import json
import sys

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

import polyrank
from polyrank.cli import main
from polyrank.client_names import MOST, fault_of_name
from polyrank.errors import DataError, PolyRankError
from polyrank.plain import Screen, one_line, plain
from polyrank.planning import rank_plan as planning
from polyrank.runs.model_card import model_card
from tests.small import small

STEERING = [chr(c) for c in (0, 7, 8, 12, 13, 27, 127, 0x9B, 0x202E, 0x2066, 0xD800)]
EVIL = ["\x1b[2J\x1b]0;title\x07red", "two\nround 9 accuracy 1.0", "\u202eflipped", "\x9b31mblue"]


def steers(text):
    return [c for c in text if c != "\n" and (not c.isprintable())]


@pytest.mark.parametrize("character", STEERING)
def test_what_steers_a_terminal_is_shown(character):
    assert plain(f"a{character}b") == f"a\\u{ord(character):04x}b"
    assert json.loads(plain(f'"a{character}b"')) == f"a{character}b"


def test_all_else_stays_as_it_is():
    text = "Zürich 東京 \U0001f469\u200d\U0001f52c \\u001b [red]\ttab\nline"
    assert plain(text) == text
    assert one_line("a\n\tb") == "a\\n\\tb"


def test_nothing_that_a_screen_prints_steers_but_its_own_colours(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    screen = Screen()
    screen.file = io.StringIO()
    table = Table()
    table.add_column(EVIL[0], style="red")
    table.add_row(EVIL[3])
    screen.print(table)
    screen.print(EVIL[0], style="bold")
    said = screen.file.getvalue()
    assert "\x1b[31m" in said
    assert "\x1b[2J" not in said
    assert "\x9b" not in said


@pytest.fixture
def polyrank_says(capsys, monkeypatch):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["polyrank", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out + said.err

    return run


@pytest.fixture
def natural(tmp_path):
    """Return a function that writes settings of a data set of natural clients by these names."""

    def write(names):
        places = np.arange(20 * len(names)) % len(names)
        rng = np.random.default_rng(0)
        np.savez(
            tmp_path / "rows.npz",
            train_x=rng.random((len(places), 3), dtype=np.float32),
            train_y=rng.integers(0, 2, len(places)),
            train_groups=np.array(names)[places],
        )
        settings = tmp_path / "s.toml"
        settings.write_text(
            'rounds = 1\npartition = "natural"\naggregator = "rbla"\n'
            f'data = "{tmp_path}/rows.npz"\n'
            '[model]\nkind = "mlp"\nhidden = [4]\n[training]\nepochs = 1\n'
        )
        return settings

    return write


def test_no_command_sends_a_name_to_the_terminal_as_it_came(natural, tmp_path, polyrank_says):
    rows = natural(EVIL)
    clients = tmp_path / "clients.csv"
    with clients.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["client", "x\x1b[1m"], *([name, k] for k, name in enumerate(EVIL))]
        )
    bad = tmp_path / "bad.csv"
    bad.write_text(clients.read_text() + "\x1b[2Jlast,many\n")
    toml = tmp_path / "bad.toml"
    toml.write_text('"a\\u001b[2J" = 1\n')
    for words, code in [
        (["plan", clients], 0),
        (["plan", clients, "--json"], 0),
        (["plan", bad], 1),
        (["plan", tmp_path / "\x9b31m\x07.csv"], 1),  # click itself strips \x1b from a pipe
        (["partition", rows], 0),
        (["run", rows, "--out", tmp_path / "run"], 0),
        (["run", toml], 2),
        (["eval", tmp_path / "run", "--client", "\x1b[2J"], 1),
        (["eval", tmp_path / "run", "--data", "\x1b[2J.csv"], 1),
    ]:
        ended, said = polyrank_says(*words)
        assert (ended, steers(said)) == (code, []), (words, said)
        assert not any(line.startswith("round 9") for line in said.splitlines()), said
    _, said = polyrank_says("plan", clients, "--json")
    assert set(json.loads(said)["ranks"]) == set(EVIL)


def test_formulas_in_a_plan_s_file_are_texts_and_numbers_stay_numbers(tmp_path):
    texts = [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        "\uff1d1",
        "-1_0",
    ]
    numbers = ["-5", "+7", "-1.5e3"]
    others = ["clinic-a", "a=1", "5"]
    with (tmp_path / "c.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        rows = ([name, k] for k, name in enumerate(texts + numbers + others))
        writer.writerows([["client", "=x"], *rows])
    planning.plan(tmp_path / "c.csv", r_min=1, r_max=9).write_csv(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        cells = [row["client"] for row in csv.DictReader(file)]
    assert cells == ["'" + text.replace("\r", "\n") for text in texts] + numbers + others


NAME = "<script>alert(1)</script>`|[x](javascript:y)\n# head *b*"


def test_names_in_a_model_card_are_text():
    settings = small(
        model={"kind": "hf", "name": NAME},
        partition={"kind": f"x:{NAME}"},
        allocator=f"x:{NAME}",
        data=f"x:{NAME}",
    )
    card = model_card(
        settings, {NAME: 3}, 1, client=NAME, merged=False, summary=None, folder='a"b\n'
    )
    assert "<script" not in card
    assert "\n# head" not in card
    text = r"&lt;script&gt;alert(1)&lt;/script&gt;\`\|\[x\](javascript:y)\\n\# head \*b\*"
    assert card.count(text) == 6
    assert f"| {text} | 3 |" in card
    assert r'load_base("a\"b\n")' in card


def test_a_client_named_folder_keeps_its_name():
    card = model_card(small(), {}, 1, client="FOLDER", merged=True, summary=None, folder="out")
    assert "of client `FOLDER`" in card
    assert 'load_base("out")' in card


@pytest.mark.parametrize("name", ["a" * MOST, "ü" * 33, "\U0001f469" * 16, "a/b"])
def test_names_that_fit_a_file_are_good(name):
    assert fault_of_name(name) is None


@pytest.mark.parametrize("name", ["a" * (MOST + 1), "ü" * 34, "\U0001f469" * 17, "/" * 67])
def test_names_that_fit_no_file_are_answered(name):
    assert "at most 200 bytes" in fault_of_name(name)
    assert len(fault_of_name(name * 100)) < 250


def test_a_name_that_is_no_unicode_is_answered():
    assert "in Unicode" in fault_of_name("a\ud800")


def test_a_long_name_is_answered_from_every_file(tmp_path, natural, polyrank_says):
    long = "x" * 10_000
    (tmp_path / "c.csv").write_text(f"client,x\na,1\n{long},2\n")
    with pytest.raises(DataError, match=r"line 3, column 'client': expected .* at most 200 bytes"):
        planning.plan(tmp_path / "c.csv", r_min=1, r_max=4)
    settings = natural(["a", long])
    with pytest.raises(PolyRankError, match="at most 200 bytes"):
        polyrank.run(settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    code, said = polyrank_says("partition", settings)
    assert (code, "at most 200 bytes" in said) == (1, True)
    assert len(said) < 500


def test_names_of_the_largest_size_make_a_whole_run(tmp_path, natural):
    settings = natural(["a", "x" * MOST])
    assert polyrank.run(settings, out=tmp_path / "run").summary["rounds"] == 1


def test_a_console_of_one_s_own_shows_names_in_one_line(tmp_path):
    (tmp_path / "c.csv").write_text("client,x\n\x1b[2Ja,1\nb,2\n")
    console = Console(file=io.StringIO(), width=80)
    planning.plan(tmp_path / "c.csv", r_min=1, r_max=4).render(console)
    assert not steers(console.file.getvalue())
