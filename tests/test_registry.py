import sys

import pytest

import polyrank
from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import Aggregator, PerModule
from polyrank.aggregators.zero_padding import zero_padding
from polyrank.allocators import Choice, Evidence, Limits
from polyrank.criteria import ClientView
from polyrank.errors import SettingsError, UnknownNameError
from polyrank.head_inits import HEAD_INITS
from polyrank.lora.factors import Factors
from polyrank.registry import Found, Named, Registry, check_options, name_of
from polyrank.server_optimizers import SERVER_OPTIMIZERS
from polyrank.settings.toml import make_settings
from tests.small import small


def table_of(kind: str, own: dict[str, str]) -> Registry:
    return Registry(kind, own, f"polyrank.{kind}s", make=Found.bound)


class KeepFirst:
    """A module fold of one's own: the first client's slots win."""

    def init(self, previous: Factors) -> Factors:
        return previous

    def add(self, state: Factors, factors: Factors | None, client_weight: float) -> Factors:
        return state

    def finish(self, state: Factors, previous: Factors) -> Factors:
        return state


def frozen(*, loud: bool = False) -> Aggregator:
    """Never change the adapter."""
    return Aggregator(PerModule(KeepFirst()))


def largest_label_share(view: ClientView) -> float:
    """Return the share of the most frequent label."""
    return float(view.label_counts.max() / view.label_counts.sum())


def all_threes(evidence: Evidence, limits: Limits) -> Choice:
    """Give everybody three."""
    import numpy as np

    ranks = {name: np.full(len(evidence.clients), 3) for name in limits.modules}
    return Choice(evidence.clients, ranks, basis="three for all")


def test_functions_of_one_s_own_are_used_by_passing_them(tmp_path):
    settings = small(
        aggregator={"kind": frozen, "loud": True}, allocator=all_threes, rounds=1, workers=2
    )
    summary = polyrank.run(settings, out=tmp_path / "run").summary
    assert summary["aggregator"] == "tests.test_registry:frozen"
    assert {r for ranks in summary["ranks"].values() for r in ranks.values()} == {3}


def test_a_criterion_of_one_s_own_is_measured_and_weighed(tmp_path):
    settings = small(criteria=["sample_count", largest_label_share], rounds=1)
    summary = polyrank.run(settings, out=tmp_path / "run").summary
    assert list(summary["criterion_weights"]) == [
        "sample_count",
        "tests.test_registry:largest_label_share",
    ]


def test_what_cannot_be_imported_again_is_refused():
    with pytest.raises(SettingsError, match="top of a module"):
        make_settings({"aggregator": lambda: zero_padding()})
    with pytest.raises(SettingsError, match="top of a module"):
        name_of(all_threes.__get__)


def test_installed_packages_add_entries_by_entry_point_but_cannot_take_ours(tmp_path, monkeypatch):
    package = tmp_path / "added-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: added\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[polyrank.aggregators]\nadded = added_module:made\nrbla = added_module:made\n"
    )
    (tmp_path / "added_module.py").write_text("def made(): return 'made'\n")
    monkeypatch.syspath_prepend(tmp_path)
    table = table_of("aggregator", {"rbla": "polyrank.aggregators.rbla:rbla"})
    assert list(table) == ["added", "rbla"]
    assert table.load("added")() == "made"
    assert table.load("rbla").__module__ == "polyrank.aggregators.rbla"
    sys.modules.pop("added_module")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rlba", "did you mean 'rbla'"),
        ("no_such_module:thing", "no module 'no_such_module'"),
        ("tests.test_registry:nothing", "has no 'nothing'"),
        ("tests.test_registry:__name__", "cannot be called"),
    ],
)
def test_names_that_lead_nowhere_say_where_they_end(name, said):
    table = table_of("aggregator", {"rbla": "polyrank.aggregators.rbla:rbla"})
    with pytest.raises(UnknownNameError, match=said):
        table.build(name)


def no_aggregator(*, answer: str = "none") -> str:
    """Return what is no aggregator."""
    return answer


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        (AGGREGATORS, "expected Aggregator, got str"),
        (SERVER_OPTIMIZERS, "expected ServerOptimizer or NoneType, got str"),
        (HEAD_INITS, "expected HeadInit or NoneType, got str"),
    ],
)
def test_a_factory_that_gives_something_else_is_refused_by_name(table, wanted):
    with pytest.raises(SettingsError, match=f"{table.kind} '{__name__}:no_aggregator': {wanted}"):
        table.build(f"{__name__}:no_aggregator")


def test_one_way_to_build_takes_a_name_a_named_method_or_that_of_settings():
    settings = make_settings({"aggregator": {"kind": "florist", "tau": 0.5}})
    named = AGGREGATORS.build(Named("florist", {"tau": 0.5}))
    for made in (named, AGGREGATORS.build(settings.aggregator)):
        assert made.fold == AGGREGATORS.build(Named("florist", {"tau": 0.5})).fold
        assert made.fold != AGGREGATORS.build("florist").fold


def options(rows: list[int], *, share: float, names: tuple[str, ...] = ()) -> None:
    """Have one required and one optional option."""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shar": 0.5}, "unknown option 'shar' .did you mean 'share'.*allowed: share, names"),
        ({}, "'share' is required"),
        ({"share": "half"}, "option share = 'half'"),
        ({"share": 1, "rows": [1]}, "unknown option 'rows'"),
    ],
)
def test_options_are_checked_against_the_signature(given, said):
    with pytest.raises(SettingsError, match=said):
        check_options(options, given, "here")
    assert check_options(options, {"share": 1, "names": ["a"]}, "here") == {
        "share": 1.0,
        "names": ("a",),
    }
