"""The page as text: structure, numbers, escaping, and that it names no other address."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from polyrank.errors import RunFolderError
from polyrank.report import build, read_run, write_report
from polyrank.report.comparison import BASE
from polyrank.report.document import charting
from polyrank.report.headline import headline
from tests.written import about_client

EVIL = (
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "<!--<script>",
    "a\u2028b & 'c'",
)
ADDRESSES = {"src", "href", "srcset", "action", "formaction", "poster", "data", "xlink:href"}
LOADERS = {"link", "iframe", "object", "embed", "base", "form", "img", "audio", "video", "a"}


class Page(HTMLParser):
    """The elements of a page, its text outside scripts, and its scripts."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.scripts, self.text, self._open = [], [], [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        (self.scripts if self._open == "script" else self.text).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def content(self):
        return json.loads("".join(self.scripts)[: len(self.scripts[0])])


@pytest.fixture
def page(run_folder):
    return Page(build([read_run(run_folder)]))


def test_sections_stand_in_the_order_a_reader_wants(page):
    keys = [attributes["id"] for attributes in page.all("h2")]
    assert keys == [f"run0-{key}" for key in ("outcome", "cost", "ranks", "clients", "trouble")]
    assert [a["href"] for a in page.all("a")] == ["#main", *(f"#{key}" for key in keys)]


def test_every_figure_has_a_caption_a_label_and_its_data(page):
    keys = [a["data-figure"] for a in page.all("div") if "data-figure" in a]
    labels = [a["aria-label"] for a in page.all("div") if "data-figure" in a]
    assert len(keys) == len(set(keys)) == len(page.all("figure")) == len(page.all("figcaption"))
    assert len(keys) == 12
    assert set(keys) == set(page.content["figures"])
    assert all(label.startswith("Chart. ") and label.endswith(".") for label in labels)
    downloads = {a["data-csv"] for a in page.all("button") if "data-csv" in a}
    assert downloads == set(page.content["data"]) > set(keys)
    for data in page.content["data"].values():
        assert data["rows"]
        assert {len(row) for row in data["rows"]} == {len(data["columns"])}


def test_ids_are_unique_and_links_lead_somewhere(make_run):
    runs = [read_run(make_run(f"r{seed}", seed=seed)) for seed in range(2)]
    page = Page(build(runs))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)
    assert {a["aria-labelledby"] for a in page.all("section")} <= set(ids)


def test_the_headline_gives_the_numbers_of_the_summary(run_folder):
    text = build([read_run(run_folder)])
    summary = json.loads((run_folder / "summary.json").read_text())
    for share in (
        summary["accuracy"]["final"],
        summary["macro_f1"]["final"],
        summary["worst_client"]["final"],
        summary["personal"]["mean"],
    ):
        assert f"<dd>{100 * share:.1f} %</dd>" in text
    assert f"client {summary['worst_client']['client']}</dd>" in text


def test_bytes_add_up_over_the_rounds(run_folder, page):
    rounds = [json.loads(line) for line in (run_folder / "rounds.jsonl").read_text().splitlines()]
    last = page.content["data"]["run0-bytes"]["rows"][-1]
    assert last[3:] == [sum(r["bytes"][way] for r in rounds) for way in ("up", "down")]


def test_what_was_refused_is_said_and_so_is_nothing(run_folder, make_run):
    text = build([read_run(run_folder)])
    assert "classifier: a holds NaN" in text
    assert "2 updates refused, 1 failure of a client" in text
    calm = build([read_run(make_run("calm", trouble=False))])
    assert "Nothing was refused and nothing failed." in calm


def test_texts_of_a_run_cannot_become_markup_or_end_the_script(make_run):
    folder = make_run("evil", clients=EVIL, rounds=2, name=EVIL[0], allocator=EVIL[1])
    (folder / "config.toml").write_text(f"# {EVIL[0]}\n{EVIL[1]}")
    run = read_run(folder)
    safe = Page(build([read_run(make_run("safe", clients=("a", "b", "c", "d"), rounds=2))]))
    for runs in ([run], [run, run]):
        page = Page(build(runs))
        assert len(page.all("script")) == 3
        assert {tag for tag, _ in page.elements} <= (
            {tag for tag, _ in safe.elements} | {"h4", "wbr"}
        )
        assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
        assert {row[0] for row in page.content["data"]["run0-ranks"]["rows"]} == set(EVIL)
        assert EVIL[0] in "".join(page.text)


def test_charts_show_names_as_they_are(make_run):
    run = read_run(make_run("bold", clients=("<b>x</b>", "y"), rounds=1))
    trace = Page(build([run])).content["figures"]["run0-ranks"]["traces"][0]
    assert set(trace["x"]) == {"&lt;b&gt;x&lt;/b&gt;", "y"}


def test_nothing_on_the_page_has_an_address_elsewhere(run_folder):
    source = build([read_run(run_folder)])
    page = Page(source)
    for tag, attributes in page.elements:
        for name in ADDRESSES & set(attributes):
            assert attributes[name].startswith("#"), (tag, attributes)
    assert {tag for tag, _ in page.elements} & LOADERS == {"a"}
    packed, _ = charting()
    ours = source.replace(packed, "")
    assert len(source) - len(ours) == len(packed)
    assert re.findall(r"//[a-z0-9]+\.|https?:|url\(|@import", ours) == []
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    assert "unsafe-inline" not in policy.partition("script-src")[2]


def test_an_unfinished_run_says_so(make_run):
    source = build([read_run(make_run("going", finished=False, rounds=3))])
    assert "This run is unfinished. The page shows the 3 rounds recorded so far." in source
    assert "This run is unfinished" not in build([read_run(make_run("done"))])


def test_a_run_with_nothing_but_settings_makes_a_page(tmp_path):
    (tmp_path / "config.toml").write_text("seed = 1\n")
    page = Page(build([read_run(tmp_path)]))
    assert page.content["figures"] == {}
    assert "No accuracy has been measured yet." in page.text


def test_several_runs_are_compared_by_arm_with_their_spread(make_run):
    folders = [
        make_run(f"{name}-{seed}", name=name, allocator=name, seed=seed, shift=shift + seed / 100)
        for name, shift in (("ranked", 0.0), ("uniform", -0.1))
        for seed in range(3)
    ]
    page = Page(build([read_run(folder) for folder in folders]))
    # The fixture's accuracies are x, x + 1 and x + 2 points: their standard deviation is 1.
    arms = {row[0]: row for row in page.content["data"]["arms"]["rows"]}
    assert set(arms) == {"ranked", "uniform", BASE}
    assert arms["ranked"][1:3] == [3, "94.4 % ± 1.0"]
    assert "The same in all: Aggregator rank_wise_mean, Rounds 20" in "".join(page.text)
    assert "ranked is ahead of uniform: 94.4 % against 84.4 %, +10.0 points (90 % interval" in (
        "".join(page.text)
    )
    assert "-10.0 points" in page.text
    names = [row[0] for row in page.content["data"]["runs"]["rows"]]
    assert names[:2] == ["ranked, seed 0", "ranked, seed 1"]
    assert len([a for a in page.all("details") if a.get("class") == "run"]) == 6
    lines = page.content["figures"]["accuracy-compared"]["traces"]
    assert len([line for line in lines if line.get("showlegend", True)]) == 2


def test_runs_that_share_name_and_seed_are_told_apart(make_run):
    runs = [read_run(make_run(folder, rounds=1)) for folder in ("one", "two")]
    rows = Page(build(runs)).content["data"]["runs"]["rows"]
    assert len({row[0] for row in rows}) == 2


def test_a_thousand_clients_keep_all_rows_and_lose_the_ticks(make_run):
    names = tuple(f"hospital {i}" for i in range(1000))
    source = build([read_run(make_run("big", clients=names, labels=77, rounds=2))])
    content = Page(source).content
    assert len(content["data"]["run0-clients"]["rows"]) == 1000
    assert len(content["figures"]["run0-labels"]["traces"][0]["z"][0]) == 77
    assert content["figures"]["run0-ranks"]["layout"]["xaxis"]["showticklabels"] is False
    assert len(source) < 9_000_000


def test_a_language_model_is_shown_by_perplexity(make_run):
    """Test losses are 1 + 2.3 exp(-t / 5) + 0.22: 3.52 before training, 2.0661 after round 5."""
    folder = make_run("talk", rounds=5, language=True)
    source = build([read_run(folder)])
    page = Page(source)
    said = " ".join(page.text)
    assert "Perplexity fell from 33.78 before training to 7.89 in 5 rounds." in said
    assert "The worst served, client 11, gets 5.08 (7.39 before training)." in said
    assert page.content["figures"]["run0-loss"]["layout"]["yaxis"].get("rangemode") != "tozero"
    assert "<dd>7.89</dd>" in source
    assert "best 7.89 in round 5" in said
    assert "ccuracy" not in said
    assert not any(key.endswith("-labels") for key in page.content["figures"])
    chart = page.content["figures"]["run0-perplexity"]
    assert [trace["name"] for trace in chart["traces"]] == [
        "Test perplexity",
        "Validation perplexity",
    ]
    assert chart["traces"][0]["y"][0] == 33.7844
    own = page.content["data"]["run0-client-perplexity"]
    kinds = [f"{kind} perplexity" for kind in ("global", "personal", "before")]
    assert own["columns"] == ["client", *kinds]
    assert {row[3] for row in own["rows"]} == {7.3891}  # exp 2
    assert [row[0] for row in own["rows"]] == [str(client) for client in range(11, -1, -1)]


def test_an_unfinished_language_model_is_judged_from_its_records(make_run):
    run = read_run(make_run("talk", rounds=5, finished=False, language=True))
    numbers = headline(run)
    assert (numbers.final, numbers.before) == (7.894, 33.7844)
    worst = about_client(
        {"event": "final", "client": "z", "global": {"perplexity": 99.0, "loss": 4.6}}
    )
    best = about_client(
        {"event": "final", "client": "a", "global": {"perplexity": 2.0, "loss": 0.7}}
    )
    numbers = headline(replace(run, clients=[best, worst]))
    assert (numbers.worst, numbers.worst_client) == (99.0, "z")


def test_language_models_and_classifiers_are_compared_apart(make_run):
    names = [("talk", seed) for seed in range(2)] + [("digits", seed) for seed in range(2)]
    folders = [
        make_run(f"{n}-{s}", name=n, seed=s, shift=s / 100, rounds=5, language=n == "talk")
        for n, s in names
    ]
    page = Page(build([read_run(folder) for folder in folders]))
    scale = page.content["figures"]["loss-compared"]["layout"]["yaxis"]
    alone = Page(build([read_run(folder) for folder in folders[:2]])).content["figures"]
    assert scale["rangemode"] == "tozero"  # as classifiers' losses are shown, but not
    assert alone["loss-compared"]["layout"]["yaxis"].get("rangemode") != "tozero"
    figures, data = page.content["figures"], page.content["data"]
    for key, arm in (("accuracy", "digits"), ("perplexity", "talk")):
        assert {trace["name"] for trace in figures[f"{key}-compared"]["traces"]} == {arm}
        assert {row[0].split(",")[0] for row in data[f"{key}-compared"]["rows"]} == {arm}
    assert {row[0].split(",")[0] for row in data["price"]["rows"]} == {"digits"}
    assert {row[0].split(",")[0] for row in data["price-perplexity"]["rows"]} == {"talk"}
    assert len(figures["loss-compared"]["traces"]) == 6
    columns = data["runs"]["columns"]
    rows = [dict(zip(columns, row, strict=True)) for row in data["runs"]["rows"]]
    assert [(row["Accuracy"] is None, row["Perplexity"]) for row in rows] == [
        (True, 7.894),
        (True, 7.8154),
        (False, None),
        (False, None),
    ]
    arms = {
        row[0]: dict(zip(data["arms"]["columns"], row, strict=True)) for row in data["arms"]["rows"]
    }
    # 7.894 and 7.8154: mean 7.8547, standard deviation 0.0786 / sqrt(2) = 0.0556
    assert arms["talk"]["Perplexity"] == "7.85 ± 0.06"
    assert arms["digits"]["Perplexity"] == arms["talk"]["Accuracy"] == "\u2013"


def test_no_run_is_an_error():
    with pytest.raises(RunFolderError, match="at least one run"):
        build([])


def test_the_report_appears_whole_or_not_at_all(run_folder, tmp_path, monkeypatch):
    out = tmp_path / "deep" / "report.html"
    assert write_report([run_folder], out) == out
    before = out.read_bytes()
    assert before.endswith(b"</html>\n")
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]

    def full(path, data):
        with path.open("wb") as file:
            file.write(data[:100])
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(RunFolderError, match="disk full"):
        write_report([run_folder], out)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_the_same_runs_give_the_same_page(run_folder):
    assert build([read_run(run_folder)]) == build([read_run(run_folder)])


def test_the_report_needs_neither_torch_nor_matplotlib():
    script = "import sys, polyrank.report; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
