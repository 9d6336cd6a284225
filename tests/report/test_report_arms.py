"""Runs are one arm where nothing but the seed differs, and no two arms have the same name."""

from dataclasses import replace

import pytest

from polyrank.report import read_run
from polyrank.report.arms import arms_of, run_names, settings_of
from polyrank.report.comparison import BASE, comparison
from polyrank.report.words import NOTHING

FAST, SLOW = ("\n[training]\nlearning_rate = 0.1\n", "\n[training]\nlearning_rate = 0.01\n")


@pytest.fixture
def run(make_run):
    """Write and read a run of one round in a folder of its own."""
    made = iter(range(100))
    return lambda **options: read_run(make_run(f"run{next(made)}", rounds=1, **options))


def sheets(runs):
    arms = arms_of(runs)
    section = comparison(runs, run_names(runs, arms), arms)
    return section, {part.key: part for part in section.parts}


def test_runs_of_one_seed_and_other_settings_are_not_seeds_of_one_arm(run):
    """Their accuracies differ by 20 points, which would be a standard deviation of 14.1."""
    runs = [run(settings=FAST), run(settings=SLOW, shift=-0.2)]
    assert [len(arm.seeds) for arm in arms_of(runs)] == [1, 1]
    assert "arms" not in sheets(runs)[1]  # nothing to take a mean of
    runs += [run(settings=FAST, seed=1), run(settings=SLOW, shift=-0.2, seed=1)]
    *rows, base = sheets(runs)[1]["arms"].rows
    assert [row[1] for row in rows] == [2, 2]
    assert base[0] == BASE
    assert base[3] == base[-1] == NOTHING  # a text, which lies below the others
    assert all(row[2].cell.endswith(" ± 0.0") for row in rows)


def test_an_arm_is_named_by_what_differs(run):
    runs = [run(settings=FAST), run(settings=SLOW), run(settings=SLOW, allocator="uniform")]
    assert [arm.name for arm in arms_of(runs)] == [
        "digits, allocator topsis, learning_rate 0.1",
        "digits, allocator topsis, learning_rate 0.01",
        "digits, allocator uniform, learning_rate 0.01",
    ]
    named = [run(settings=FAST, name="fast"), run(settings=SLOW, name="slow")]
    assert [arm.name for arm in arms_of(named)] == ["fast", "slow"]


def test_a_key_that_only_one_arm_has_names_that_arm(run):
    runs = [run(settings=FAST), run(settings=f"{FAST}clip_norm = 1.0\n")]
    assert [arm.name for arm in arms_of(runs)] == ["digits", "digits, clip_norm 1.0"]


def test_names_that_are_cut_short_still_differ(run):
    paths = (f'\n[data]\nsource = "{"folder/" * 9}{end}.npz"\n' for end in "ab")
    names = [arm.name for arm in arms_of([run(settings=path) for path in paths])]
    assert names[0] == "digits, source folder/folder/folder/folder/folder/fold…"
    assert names[1] == f"{names[0]} (2)"


def test_what_no_result_depends_on_does_not_part_runs(run):
    runs = [run(name="one"), run(name="two", seed=1), run(seed=2), run(seed=3)]
    config = 'workers = 4\ndevice = "cuda"\ntrackers = ["tensorboard"]\n'
    runs[3] = replace(runs[3], settings=config + runs[3].settings)
    (arm,) = arms_of(runs)
    assert arm.name == "one and 2 more"
    assert len(arm.seeds) == 4
    assert run_names(runs, [arm])[2] == "one and 2 more, seed 2"


def test_the_same_seed_with_the_same_settings_counts_once_and_is_told(run):
    runs = [run(seed=0, finished=False), run(seed=0), run(seed=1, shift=0.01), run(seed=0)]
    (arm,) = arms_of(runs)
    assert [one.folder.name for one in arm.seeds] == ["run1", "run2"]  # the first that finished
    section, parts = sheets(runs)
    assert parts["arms"].rows[0][1] == 2
    # x and x + 1 points: a standard deviation of 1 / sqrt(2)
    assert parts["arms"].rows[0][2].cell.endswith(" ± 0.7")
    assert "2 runs repeat the settings and the seed of another; a seed counts once." in section.lead
    assert len(parts["runs"].rows) == 4
    assert len({row[0] for row in parts["runs"].rows}) == 4
    assert "repeat" not in sheets(runs[1:3])[0].lead


@pytest.mark.parametrize("text", ["", "a = [", f"{'a.' * 3000}b = 1"], ids=["none", "no", "deep"])
def test_runs_whose_settings_cannot_be_read_are_arms_of_their_own(run, text):
    runs = [replace(run(seed=seed), settings=text) for seed in range(2)]
    names = [arm.name for arm in arms_of(runs)]
    assert len(set(names)) == 2
    assert settings_of(runs[0]) == {"folder": str(runs[0].folder)}
