import arms_table

GRID = {
    "digits, double": {"rbla": {"0": [0.1, 0.5], "1": [0.1]}, "flexlora": {"0": [0.2, 0.6]}},
    "mnist": {"rbla": {"0": [0.1, 0.9]}, "flexlora": {"0": [0.1, 0.8]}},
}


def test_runs_that_diverged_are_named_below_the_table():
    told = arms_table.by_federation({"title": "Test", "grid": GRID})
    assert "| digits, double | 20.0 ± 14.1 | 40.0 |" in told
    assert told.endswith("the rounds before count: digits, double, *rbla*: 1 of 2.")


def test_without_one_nothing_is_said_of_them():
    whole = {"mnist": GRID["mnist"]}
    told = arms_table.by_federation({"title": "Test", "of": whole}, key="of")
    assert "diverged" not in told
