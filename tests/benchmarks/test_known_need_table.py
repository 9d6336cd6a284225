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
    assert rows(known_need_table.needs({"facts": FACTS})) == [
        "| facts | 2 | 1.0 | 2.0 | 3.0 | 30.0 ± 7.1 | 2 |"
    ]
