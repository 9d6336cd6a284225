"""The tables of needs, from a result made by hand."""

import known_need_table


def client(need, *reached):
    return need, dict(zip(("1", "16"), reached, strict=True))


def place(tau, **clients):
    alone = {
        "need": {name: need for name, (need, _) in clients.items()},
        "reached": {name: reached for name, (_, reached) in clients.items()},
    }
    return {"alone": alone, "tau": tau}


FACTS = {
    "0": place(
        {"rows": 1.0}, **{"facts-016": client(1, 1.0, 1.0), "facts-064": client(2, 0.5, 1.0)}
    ),
    "1": place(
        {"rows": 0.5}, **{"facts-016": client(1, 1.0, 1.0), "facts-064": client(4, 0.3, 1.0)}
    ),
}
EQUAL = {"0": place({"rows": None}, **{"facts-016": client(1, 1.0, 1.0)})}


def rows(table):
    return [line for line in table.splitlines() if line.startswith("| ")][2:]


def test_clients_stand_with_what_they_recall_by_rank_and_their_need():
    assert rows(known_need_table.by_facts(FACTS)) == [
        "| 16 | 100 | 100 | 1.0 ± 0.0 |",
        "| 64 | 40 | 100 | 3.0 ± 1.4 |",
    ]


def test_an_order_that_is_the_same_for_all_clients_is_called_alike():
    table = known_need_table.orders({"facts": FACTS, "facts, equal rows": EQUAL})
    assert rows(table) == ["| rows | 0.75 ± 0.35 | alike |"]
    assert "Seeds: facts: 2, facts, equal rows: 1." in " ".join(table.split())


def test_rank_1_loses_the_mean_of_what_clients_lose():
    known = {seed: {**of, "found": {"slots": [8, 20]}} for seed, of in FACTS.items()}
    assert rows(known_need_table.needs({"facts": known, "without": FACTS})) == [
        "| facts | 2 | 1.0 | 2.0 | 3.0 | 30.0 ± 7.1 | 20 ± 0 | 2 |",
        "| without | 2 | 1.0 | 2.0 | 3.0 | 30.0 ± 7.1 |  | 2 |",
    ]


def test_beside_tells_the_client_that_needs_most_apart_from_the_mean_of_the_others():
    def at(mine, first, second):
        reached = {"a": first, "b": mine, "c": second}
        return {"global": reached, "own": {**reached, "b": mine + 0.1}}

    cell = {"client": "b", "ranks": {"1": at(0.2, 0.5, 0.7), "16": at(0.6, 0.4, 0.4)}}
    places = {"facts": {"0": {"beside": cell}}, "without": {"0": {}}}
    assert rows(known_need_table.beside(places)) == [
        "| facts | 1 | 20.0 | 30.0 | 60.0 | 1 |",
        "| facts | 16 | 60.0 | 70.0 | 40.0 | 1 |",
    ]


def test_ranks_by_need_stand_in_the_order_of_facts():
    run = {
        "sent": {"facts-064": 2.0, "facts-016": 1.0},
        "slots": [3, 5],
        "reached": {"facts-016": 1.0, "facts-064": 0.5},
    }
    table = known_need_table.found({"facts": {"0": {"found": run}}, "digits": {"0": {}}})
    assert "| place | 16 facts | 64 facts | slots | recalled |" in table
    assert rows(table) == ["| facts | 1.0 | 2.0 | 5 | 75 |"]
