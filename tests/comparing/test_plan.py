"""Which runs a comparison has, and what is refused before any of them starts."""

import pytest

from polyrank.comparing.plan import planned
from polyrank.errors import SettingsError
from polyrank.settings.toml import make_settings
from tests.small import small

DOCUMENT = {
    "name": "mine",
    "data": "tests.small:tiny_digits",
    "partition": {"kind": "double_imbalance", "clients": 4},
    "ranks": {"budget": 3},
}
RBLA = {"rbla": {"aggregator": "rbla"}}


def plan(arms=None, settings=None, **options):
    usual = {"overrides": (), "seeds": 2, "against": None, "controls": False, "tune": False}
    return planned(settings or DOCUMENT, arms=arms, **{**usual, **options})


def only(arms, **options):
    (variant,) = plan(arms, **options).variants
    return variant.settings


def test_every_arm_has_the_help_of_the_settings_unless_it_says_otherwise():
    """Alone, a file with aggregator = "rbla" has no momentum and no average."""
    made = only(RBLA)
    assert (made.server_optimizer.kind, made.average, made.recipe) == ("fedavgm", 0.8, "safe")
    assert made.training.clip_norm == 10
    assert only({"a": {"aggregator": "rbla", "average": 0.5}}).average == 0.5
    paper = only({"a": {"aggregator": "rbla", "recipe": "paper"}})
    assert (paper.server_optimizer.kind, paper.average) == ("none", 0.0)
    without = only({"a": {"aggregator": "anchored"}}, settings={**DOCUMENT, **RBLA["rbla"]})
    assert without.server_optimizer.kind == "none"


def test_an_arm_that_names_a_recipe_has_all_of_its_help():
    """Settings that were made before have every key, and so has the file of a finished run."""
    whole = make_settings({**DOCUMENT, **RBLA["rbla"], "average": 0.5})
    for given in (whole, whole.model_dump(exclude_none=True)):
        safe = only({"a": {"recipe": "safe"}}, settings=given)
        assert (safe.server_optimizer.kind, safe.average) == ("fedavgm", 0.8)
        assert safe.training.clip_norm == 10
        other = only({"a": {"recipe": "safe", "average": 0.1}}, settings=given)
        assert other.average == 0.1
    assert (whole.server_optimizer.kind, whole.training.clip_norm) == ("none", 0)


def test_an_arm_replaces_what_its_keys_name_and_keeps_the_rest():
    made = only({"a": {"ranks.r_max": 8, "allocator": {"kind": "uniform", "rank": 4}}})
    assert (made.ranks.r_max, made.ranks.budget.mean_rank) == (8, 3)
    assert made.allocator.options == {"rank": 4}
    assert (made.name, made.workers) == ("a", 1)
    need = only({"a": {"allocator": "need", "ranks": {}}})
    assert (need.ranks.r_min, need.ranks.r_max) == (1, 64)  # as a file with it has them


def test_seeds_are_counted_from_the_settings_own_or_given():
    assert plan(seeds=3, overrides=["seed=7"]).seeds == (7, 8, 9)
    assert plan(seeds=[4, 1]).seeds == (4, 1)
    assert plan(seeds=[99, 100, 101]).tuning_seeds == [102]
    assert plan(seeds=[101], tune_seeds=3).tuning_seeds == [100, 102, 103]


def test_controls_are_those_of_the_arm_that_others_are_compared_with():
    made = plan({**RBLA, "flex": {"aggregator": "flexlora"}}, controls=True, against="flex")
    assert [v.name for v in made.variants] == [
        "flex", "rbla", "control alone", "control pooled", "control uniform",
    ]  # fmt: skip
    uniform = made.variants[-1].settings
    assert (uniform.aggregator.kind, uniform.allocator.kind) == ("flexlora", "level")


def test_a_control_that_cannot_be_is_left_out_and_said():
    made = plan({"a": {"allocator": "uniform", "data.client_test": 0.0}}, controls=True)
    assert [v.name for v in made.variants] == ["a", "control pooled"]
    assert [note.partition(":")[0] for note in made.notes] == [
        "no control alone", "no control uniform",
    ]  # fmt: skip


def test_all_are_tuned_by_validation_rows_or_where_there_is_no_global_model_by_clients_own():
    made = plan(RBLA, controls=True, tune=True)
    assert [*made.tuned] == [*made.variants]
    alone = next(v for v in made.variants if v.name == "control alone")
    assert alone.of(5, 0.25).training.learning_rate == 0.25
    assert alone.of(5).seed == 5
    held = {"data.validation": 0.0, "evaluation.held_by": "clients"}
    assert plan({"a": held}, tune=True).tuned


@pytest.mark.parametrize(
    ("arms", "options", "said"),
    [
        ({}, {}, "arms: expected at least one"),
        ({"a": ["aggregator"]}, {}, "arm 'a': expected a mapping"),
        ({"a/b": {}}, {}, "arm 'a/b': name: expected a name for the run's folder"),
        ({"control alone": {}}, {}, "that is how controls are named"),
        ({"a": {"seed": 3}}, {}, "seed: that is set by seeds"),
        ({"a": {"workers": 3}}, {}, "workers: that is set by jobs"),
        ({"a": {"agregator": "rbla"}}, {}, "did you mean 'aggregator'"),
        ({"a": {"rounds.x": 1}}, {}, "arm 'a': rounds: expected"),
        ({"a": {}, "b": {"aggregator": "anchored"}}, {}, "'a' and 'b' are the same settings"),
        ({"a": {}, "b": {"device": "auto"}}, {}, "'a' and 'b' are the same settings"),
        ({"a": {"aggregator": "flexlora", "allocator": "fedara"}}, {}, "arm 'a': allocator"),
        ({"a": {"partition.concentrated": 1}}, {}, "arm 'a': .*concentrated"),
        (RBLA, {"seeds": 0}, "seeds: expected at least one"),
        (RBLA, {"seeds": [1, 1]}, "each once"),
        (RBLA, {"seeds": [1, "2"]}, "whole number"),
        (RBLA, {"seeds": [True]}, "whole number"),
        (RBLA, {"against": "rblas"}, "did you mean 'rbla'"),
        (RBLA, {"against": "x"}, "expected one of 'rbla'"),
        ({"a": {"training.learning_rate": 1.0}}, {"tune": True}, "expected --no-tune"),
        ({"a": {"data.validation": 0.0}}, {"tune": True}, "data.validation = 0 leaves nothing"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(arms, options, said):
    with pytest.raises(SettingsError, match=said):
        plan(arms, **options)


def test_settings_may_be_given_as_they_are():
    made = plan(settings=small(), controls=True)
    assert [v.name for v in made.variants][:2] == ["small", "control alone"]
    assert made.variants[0].settings.average == 0.0
