"""Who is ahead in a comparison, by numbers that are reckoned by hand."""

from pathlib import Path

import pytest

from polyrank.report.ahead import ahead
from polyrank.report.arms import arms_of
from polyrank.report.comparison_figures import clients_compared, price
from polyrank.report.reading import Run
from polyrank.report.yardstick import ACCURACY
from tests.written import a_round, a_summary, about_client


def a_run(name: str, seed: int, accuracy: float | None, clients: str = "ab", **own: float) -> Run:
    """A run of these clients; without an accuracy it has the clients' own models alone."""
    test = None if accuracy is None else {"accuracy": accuracy}
    lines = [about_client({"event": "profile", "client": c, "ranks": {"m": 2}}) for c in clients]
    for client in clients:
        personal = {"accuracy": own.get(client, 0.5)}
        shared = None if accuracy is None else {"accuracy": accuracy}
        final = {"event": "final", "client": client, "personal": personal, "global": shared}
        lines.append(about_client(final))
    return Run(
        folder=Path(f"{name}-{seed}"),
        settings=f'seed = {seed}\nallocator = "{name}"\n',
        rounds=(a_round(round=0), a_round(round=1, test=test, bytes={"up": 5, "down": 5})),
        clients=lines,
        summary=a_summary(name=name, seed=seed),
    )


def said(runs: list[Run]) -> str:
    return ahead(arms_of(runs), runs, ACCURACY)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        # differences 4, 6, 5 points: mean 5, standard deviation 1, 5 -+ 2.92 * 1 / sqrt(3)
        (
            (0.86, 0.85, 0.87),
            "best is ahead of other: 91.0 % against 86.0 %, +5.0 points (S+3.3 to +6.7).",
        ),
        # differences -1, 3, 1 points: mean 1, standard deviation 2, 1 -+ 2.92 * 2 / sqrt(3)
        (
            (0.91, 0.88, 0.91),
            "best and other are level: 91.0 % against 90.0 %, +1.0 points (S-2.4 to +4.4).",
        ),
    ],
)
def test_the_winner_is_named_with_a_margin_taken_seed_by_seed(other, expected):
    runs = [a_run("other", seed, value) for seed, value in enumerate(other)]
    runs += [a_run("best", seed, value) for seed, value in enumerate((0.90, 0.91, 0.92))]
    sure = "90 % interval of the difference over 3 seeds: "
    assert said(runs) == expected.replace("(S", f"({sure}")


def test_with_one_seed_no_spread_is_claimed():
    told = said([a_run("one", 0, 0.9), a_run("two", 0, 0.8)])
    assert told.startswith("one comes out ahead of two, 90.0 % against 80.0 %; with one seed")


def test_pooled_data_and_clients_alone_win_nothing_and_send_nothing():
    federation, pooled = a_run("fed", 0, 0.8), a_run("pooled", 0, 0.99, clients="x")
    alone = a_run("alone", 0, None)
    runs = [federation, pooled, alone, a_run("uniform", 0, 0.7)]
    assert said(runs).startswith("fed comes out ahead of uniform")
    assert said([federation, pooled, alone]) == ""


def test_each_client_has_a_dot_for_the_federation_and_for_itself_alone():
    """Means over two seeds: a reaches 0.9 and 0.7 by its own model, 0.4 and 0.6 alone."""
    runs = [a_run("fed", seed, 0.8, a=own) for seed, own in enumerate((0.9, 0.7))]
    runs += [a_run("alone", seed, None, a=own) for seed, own in enumerate((0.4, 0.6))]
    arms = arms_of(runs)
    (figure,) = clients_compared(arms, ACCURACY)
    assert [trace["name"] for trace in figure.traces] == [
        "fed, global model", "fed, own models", "alone",
    ]  # fmt: skip
    rows = {row[0]: row[1:] for row in figure.data.rows}
    assert rows["a"] == pytest.approx([0.8, 0.8, 0.5])
    assert rows["b"] == pytest.approx([0.8, 0.5, 0.5])
    assert clients_compared(arms[:1], ACCURACY) == []
    (cost,) = price(runs[:2], ["fed", "fed"], arms, ACCURACY)
    assert [trace["name"] for trace in cost.traces] == ["fed"]
