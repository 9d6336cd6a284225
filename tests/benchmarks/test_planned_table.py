"""The table of planned ranks, from a result made by hand."""

import planned_table


def run(accuracy, sent):
    return {"accuracy": accuracy, "bytes": sent}


def test_planned_ranks_stand_beside_the_run_by_need_that_they_are_read_off():
    seeds = {
        "0": {
            "rank": 8,
            "ranks": [7, 8],
            "need": run(0.9, 4e6),
            "uniform": run(0.88, 3e6),
            "ratio": run(0.87, 1e6),
        },
        "1": {
            "rank": 12,
            "ranks": [9, 9],
            "need": run(0.92, 6e6),
            "uniform": run(0.92, 5e6),
            "ratio": run(0.85, 3e6),
        },
    }
    table = planned_table.by_federation({"planned": {"mnist": seeds}})
    assert table.splitlines()[2] == (
        "| MNIST | 91.0 ± 1.4 | 5.0 | 8 to 12 | -1.0 ± 1.4 | 0.80 | 7 to 9 | -5.0 ± 2.8 | 0.40 |"
    )
    assert "2 seeds" in table
