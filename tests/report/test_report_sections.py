"""Numbers and words of the sections, by hand."""

from math import exp
from pathlib import Path

import pytest

from polyrank.report import Run, words
from polyrank.report.charts import modules_axis, names_axis, round_axis
from polyrank.report.clients import clients, label_names
from polyrank.report.facts import facts
from polyrank.report.headline import headline
from polyrank.report.outcome import outcome
from polyrank.report.parts import Figure, Note
from polyrank.report.ranks import ranks
from tests.written import a_round, a_summary, about_client


def run(**fields):
    return Run(folder=Path("run"), **fields)


def profile(client, **fields):
    return about_client({"event": "profile", "client": client, **fields})


def test_words_for_numbers():
    assert words.percent(0.9412) == "94.1 %"
    assert words.percent(None) == words.NOTHING
    assert [words.size(n) for n in (0, 999, 1000, 999_600, 1_234_567)] == [
        "0 B",
        "999 B",
        "1.00 kB",
        "1.00 MB",
        "1.23 MB",
    ]
    assert [words.number(n) for n in (1234567, 0.69, 0.0, 349.2)] == [
        "1,234,567",
        "0.690",
        "0.0",
        "349",
    ]
    assert [words.duration(s) for s in (32.04, 80, 3725)] == ["32 s", "1 min 20 s", "1 h 2 min"]
    assert words.plural(1, "round") + words.plural(2, "round") == "1 round2 rounds"
    assert words.rank_range([4, 16, 8]) == "4 to 16"


def test_ranks_say_that_clients_hardly_differ():
    """The parts in words, of a run that used a third of the range, none of it, or all of it."""
    two = (profile("a", score=0.2, ranks={"m": 3}), profile("b", score=0.8, ranks={"m": 4}))

    def said(share):
        summary = a_summary(rank_spread=share)
        parts = ranks(run(clients=two, summary=summary)).parts
        return [part.text for part in parts if isinstance(part, Note)]

    assert said(1 / 3) == ["Clients differ little, so ranks use 33 % of their range."]
    assert said(0.0) == ["Clients are too alike to tell apart, so all get one rank."]
    assert said(1.0) == said(None) == []


def test_an_unfinished_run_takes_its_headline_from_the_last_round_that_was_evaluated():
    rounds = (
        a_round(round=0, test={"accuracy": 0.1}),
        a_round(round=1, test={"accuracy": 0.6, "macro_f1": 0.5}),
        a_round(round=2, bytes={"up": 3, "down": 4}),
    )
    finals = tuple(
        about_client({"event": "final", "client": name, "global": {"accuracy": accuracy}})
        for name, accuracy in (("a", 0.7), ("b", 0.4))
    )
    numbers = headline(run(rounds=rounds, clients=finals))
    assert (numbers.final, numbers.before, numbers.macro_f1) == (0.6, 0.1, 0.5)
    assert (numbers.worst, numbers.worst_client) == (0.4, "b")
    assert (numbers.rounds, numbers.bytes_up, numbers.bytes_down) == (2, 3, 4)


def test_clients_own_rows_are_told_by_the_mean_or_by_exp_of_the_mean_loss():
    def finals(*metrics):
        named = zip("abc", metrics, strict=False)
        return [about_client({"event": "final", "client": c, "global": of}) for c, of in named]

    rounds = (a_round(round=0, test={"accuracy": 0.5}),)
    told = headline(run(rounds=rounds, clients=finals({"accuracy": 0.7}, {"accuracy": 0.4})))
    assert told.shared == pytest.approx(0.55)
    rounds = (a_round(round=0, test={"perplexity": 9.0, "loss": 2.2}),)
    losses = [{"perplexity": exp(loss), "loss": loss} for loss in (1.0, 2.0)]
    assert headline(run(rounds=rounds, clients=finals(*losses))).shared == pytest.approx(exp(1.5))
    broken = finals(*losses, {"perplexity": None, "loss": None})
    assert headline(run(rounds=rounds, clients=broken)).shared is None


def test_the_lead_does_not_praise_a_run_that_got_worse():
    rounds = (a_round(round=0, test={"accuracy": 0.5}), a_round(round=1, test={"accuracy": 0.4}))
    lead = outcome(run(rounds=rounds)).lead
    assert lead == (
        "Accuracy did not rise: from 50.0 % before training it went to 40.0 % in 1 round."
    )


def test_clients_are_sorted_by_score_and_ranks_that_grew_are_shown():
    profiles = (
        profile("low", score=0.2, ranks={"m": 4}),
        profile("high", score=0.9, ranks={"m": 8}),
    )
    grown = about_client({"event": "ranks", "round": 2, "client": "low", "ranks": {"m": 6}})
    figure = ranks(run(clients=[*profiles, grown])).parts[0]
    assert isinstance(figure, Figure)
    assert figure.data.rows == [("high", 8.0, 8.0, None), ("low", 6.0, 4.0, None)]
    assert [trace["name"] for trace in figure.traces] == ["Rank", "Rank at the start"]


def test_ranks_that_change_are_drawn_by_round_and_their_modules_are_in_the_download():
    """Client a keeps 4 and 4; b has 8 and 4, from round 2 on 5 and 4, from round 4 on 2 and 4."""
    profiles = [
        profile("a", score=0.2, ranks={"m": 4, "n": 4}),
        profile("b", score=0.9, ranks={"m": 8, "n": 4}),
    ]
    changes = [
        about_client({"event": "ranks", "round": number, "client": "b", "ranks": {"m": m, "n": 4}})
        for number, m in ((2, 5), (4, 2))
    ]
    section = ranks(run(rounds=[a_round(round=3)], clients=[*profiles, *changes]))
    (figure,) = (part for part in section.parts if part.key == "rank-history")
    assert figure.traces[0]["x"] == [1, 2, 3, 4]
    assert figure.traces[0]["y"] == ["b", "a"]
    assert figure.traces[0]["z"] == [[6.0, 4.5, 4.5, 3.0], [4.0] * 4]
    assert figure.data.columns == ["client", "from round", "rank of m", "rank of n"]
    assert figure.data.rows == [["b", 1, 8, 4], ["b", 2, 5, 4], ["b", 4, 2, 4], ["a", 1, 4, 4]]
    assert (
        section.lead == "2 clients now have ranks from 3.00 to 4.00 (mean over a client's modules)."
    )
    assert "rank-history" not in [part.key for part in ranks(run(clients=profiles)).parts]


def slots_left(*clients, **fields):
    figures = [p for p in ranks(run(clients=clients, **fields)).parts if isinstance(p, Figure)]
    return next((figure for figure in figures if figure.key == "slots-left"), None)


def changed(client, number, **fields):
    return about_client({"event": "ranks", "round": number, "client": client, **fields})


def test_slots_left_are_those_that_some_client_owns():
    """Of m: a {0, 2}, b 0 to 2: 3 slots; from round 2 on a {2, 5}, b {5}: 2; from round 4 on 1."""
    figure = slots_left(
        profile("a", ranks={"m": 2, "n": 1}, slots={"m": [0, 2], "n": [0]}),
        profile("b", ranks={"m": 3, "n": 1}),
        changed("a", 2, ranks={"m": 2, "n": 0}, slots={"m": [2, 5], "n": []}),
        changed("b", 2, ranks={"m": 1, "n": 1}, slots={"m": [5], "n": [3]}),
        changed("a", 4, ranks={"m": 0, "n": 0}, slots={"m": [], "n": []}),
        changed("b", 4, ranks={"m": 1, "n": 0}, slots={"m": [5], "n": []}),
        rounds=[a_round(round=5)],
    )
    assert figure.traces[0]["x"] == [1, 2, 3, 4, 5]
    assert figure.traces[0]["y"] == ["m", "n"]
    assert figure.traces[0]["z"] == [[3, 2, 2, 1, 1], [1, 1, 1, 0, 0]]
    assert figure.data.columns == ["module", "from round", "slots that some client owns"]
    assert figure.data.rows == [
        ["m", 1, 3], ["n", 1, 1], ["m", 2, 2], ["n", 2, 1], ["m", 4, 1], ["n", 4, 0],
    ]  # fmt: skip
    assert figure.caption.endswith("is not trained. By now 1 of 2 modules have slots.")


def test_slots_left_are_drawn_where_ranks_fall_to_nothing_and_not_where_they_only_fall():
    start = profile("a", ranks={"m": 4, "n": 4})
    some = changed("a", 2, ranks={"m": 1, "n": 4})
    none = changed("a", 2, ranks={"m": 0, "n": 4})
    assert slots_left(start) is None
    assert slots_left(profile("a", ranks={"m": 0})) is None
    assert slots_left(start, some) is None
    assert slots_left(start, none).traces[0]["z"] == [[4, 0], [4, 4]]
    without = {"ranks": {}, "slots": {}}
    assert slots_left(profile("a", **without), changed("a", 2, **without)) is None


def test_none_left_is_told_from_one_by_its_colour():
    figure = slots_left(profile("a", ranks={"m": 32}), changed("a", 2, ranks={"m": 0}))
    none, edge, some, *_, most = figure.traces[0]["colorscale"]
    assert (none, edge[1], some[1]) == ([0.0, "@heat0"], "@heat0", "@heat1")
    assert 0 < edge[0] == some[0] < 1 / 32
    assert most == [1.0, "@heat4"]


def test_modules_are_named_by_what_tells_them_apart():
    layer = "bert.encoder.layer"
    axis = modules_axis(
        [
            f"{layer}.0.attention.self.query",
            f"{layer}.0.attention.output.dense",
            f"{layer}.11.output.dense",
            "bert.pooler.<b>",
            "bert.a_name_without_any_dots_in_it",
        ]
    )
    assert axis["labelalias"] == {
        f"{layer}.0.attention.self.query": "0…self.query",
        f"{layer}.0.attention.output.dense": "0…output.dense",
        f"{layer}.11.output.dense": "11.output.dense",
        "bert.pooler.&lt;b&gt;": "pooler.&lt;b&gt;",
        "bert.a_name_without_any_dots_in_it": "a_name_without_any_dots_in_it",
    }
    same = "distilbert.transformer.layer"
    two = modules_axis([f"{same}.0.attention.q_lin", f"{same}.1.ffn.lin1"])["labelalias"]
    assert [*two.values()] == ["0.attention.q_lin", "1.ffn.lin1"]
    assert modules_axis(["fc1", "fc2"])["labelalias"] == {}
    assert modules_axis([])["labelalias"] == {}


def test_modules_are_drawn_only_where_they_differ():
    same = run(clients=(profile("a", score=1, ranks={"m": 4, "n": 4}),))
    differ = run(clients=(profile("a", score=1, ranks={"m": 4, "n": 8}),))
    assert [part.key for part in ranks(same).parts] == ["ranks", "clients"]
    assert [part.key for part in ranks(differ).parts] == ["ranks", "clients", "modules"]


def test_a_run_without_scores_says_so():
    section = ranks(run(clients=(profile("a", ranks={"m": 4}),)))
    assert section.parts[0].text == "The ranks of this run do not depend on a score."


def test_labels_without_names_are_numbered():
    assert label_names(run(), 3) == ["0", "1", "2"]
    assert label_names(run(summary=a_summary(label_names=["a", "b"])), 2) == ["a", "b"]


def test_long_names_are_cut_on_axes_and_stay_apart():
    axis = names_axis(["a <long> hospital name 1", "a <long> hospital name 2", "b"], "client")
    assert axis["labelalias"] == {
        "a &lt;long&gt; hospital name 1": "a &lt;long&gt; hospit…",
        "a &lt;long&gt; hospital name 2": "a &lt;long&gt; hospit…",
    }


def test_one_client_is_not_compared_with_itself():
    only = profile("a", examples={"train": 4, "test": 0}, label_counts=[1, 3])
    assert clients(run(clients=(only,))).lead == "1 client with 4 training examples."
    other = profile("b", examples={"train": 8, "test": 0}, label_counts=[8, 0])
    # Against the pool (9/12, 3/12): a is 1/2 away, b 1/4, 3/8 on average.
    assert clients(run(clients=(only, other))).lead == (
        "2 clients with 4 to 8 training examples. On average 37.5 % of a client's examples"
        " would have to change their label for it to look like all clients together."
    )


def test_columns_show_counts_whole_and_as_many_digits_as_tell_numbers_apart():
    whole = words.telling([10.0, 1297.0, None])
    assert [whole(v) for v in (10.0, 1297.0, None)] == ["10", "1,297", words.NOTHING]
    three = words.telling([0.5, 0.61])
    assert [three(v) for v in (0.5, 0.61, 0.0)] == ["0.500", "0.610", "0"]
    five = words.telling([2.00251, 2.00249])
    assert five(2.00251) != five(2.00249)
    same = words.telling([1 / 3, 1 / 3 + 1e-12])
    assert same(1 / 3) == "0.333333"  # beyond six digits they are alike


def test_rounds_have_marks_at_whole_numbers_of_which_there_are_few():
    assert [round_axis(last)["dtick"] for last in (1, 4, 10, 11, 40, 60, 1000)] == [
        1, 1, 1, 2, 5, 10, 100,
    ]  # fmt: skip
    assert round_axis(4)["tickmode"] == "linear"


def test_a_head_that_was_made_first_is_in_the_first_sentence():
    rounds = (a_round(round=0, test={"accuracy": 0.84}), a_round(round=1, test={"accuracy": 0.87}))
    summary = a_summary(head_init="lda")
    assert outcome(run(rounds=rounds, summary=summary)).lead == (
        "Accuracy rose from 84.0 % before training, with its head made (lda), to 87.0 % in 1 round."
    )


def test_the_three_that_are_served_worst_are_shown_with_their_rows_and_the_spread():
    """0.2, 0.4, 0.6, 0.8: a mean of 0.5, and a standard deviation of the root of 0.05."""
    finals = [
        about_client({"event": "final", "client": c, "global": {"accuracy": a}})
        for c, a in zip("abcd", (0.8, 0.2, 0.6, 0.4), strict=True)
    ]
    profiles = [
        profile(c, examples={"train": 10 * n, "test": n}, label_counts=[n, 0, 1])
        for n, c in enumerate("abcd", 1)
    ]
    rounds = (a_round(round=0, test={"accuracy": 0.1}), a_round(round=1, test={"accuracy": 0.5}))
    parts = outcome(run(rounds=rounds, clients=[*profiles, *finals])).parts
    (said,) = (part.text for part in parts if isinstance(part, Note) and "Between" in part.text)
    assert said.endswith("from 20.0 % to 80.0 %, with a standard deviation of 22.4 points.")
    (worst,) = (part for part in parts if getattr(part, "key", "") == "worst")
    assert worst.rows == [
        ["b", 0.2, None, 2, 20, 2],
        ["d", 0.4, None, 4, 40, 2],
        ["c", 0.6, None, 3, 30, 2],
    ]


def test_what_a_run_was_stands_in_one_line():
    settings = (
        'seed = 3\ndata = {source = "csv:/home/x/y.csv"}\n[partition]\nkind = "iid"\n'
        '[model]\nkind = "hf"\nname = "org/bert"\n'
    )
    two = (profile("a", ranks={"m": 1}), profile("b", ranks={"m": 1}))
    shown = facts(
        run(settings=settings, clients=two, rounds=(a_round(round=4),), date="2026-01-31")
    )
    assert shown == (
        "unfinished run · y.csv · iid · 2 clients · 4 rounds · org/bert · seed 3 · 2026-01-31"
    )
    ended = a_summary(allocator="autorank", aggregator="rbla")
    assert facts(run(summary=ended)) == ("ranks by autorank · aggregated by rbla · PolyRank 0.1.0")


def test_the_deciding_value_stands_beside_the_reason_in_the_table_of_clients():
    two = [
        profile(
            c,
            score=score,
            ranks={"m": rank},
            reason=f"reason {c}",
            criteria={"label_count": labels, "sample_count": rows},
            contributions={"label_count": 0.1, "sample_count": -0.4},
        )
        for c, score, rank, labels, rows in (("a", 0.2, 4, 3.0, 1200.0), ("b", 0.9, 8, 5.0, 90.0))
    ]
    (sheet,) = (part.filled for part in ranks(run(clients=two)).parts if part.key == "clients")
    pairs = [zip(sheet.columns, row, strict=True) for row in sheet.rows]
    shown = [[column.text(cell) for column, cell in of] for of in pairs]
    assert [column.title for column in sheet.columns][:5] == [
        "Client", "Rank", "Why", "Decided by", "Score",
    ]  # fmt: skip
    assert shown[1][:5] == ["a", "4", "reason a", "Sample count 1,200", "0.200"]
    assert shown[1][-2:] == ["3", "1,200"]
