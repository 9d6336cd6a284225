"""What a user types after ``import polyrank`` is there, and nothing slow comes with it."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import polyrank
from polyrank import aggregators
from polyrank.aggregators import AGGREGATORS
from polyrank.errors import AdapterError, SettingsError, ShapeError, UnknownNameError
from polyrank.lora.factors import Factors, prefix


@pytest.mark.parametrize("package", [polyrank, aggregators])
def test_every_public_name_is_there_and_seen_by_dir_and_type_checkers(package):
    told = set()
    for node in ast.walk(ast.parse(Path(package.__file__).read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            told = {alias.name for inner in node.body for alias in inner.names}
    for name in package.__all__:
        assert inspect.getdoc(getattr(package, name)), name
        assert name in dir(package)
    assert told >= {name for name in package.__all__ if not name.isupper()}


def test_a_name_that_is_not_there_is_an_attribute_error():
    for package in (polyrank, aggregators):
        with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute"):
            package.agregate  # noqa: B018 - it is looked up


def test_importing_the_package_imports_nothing_that_is_slow():
    code = "import sys, polyrank; dir(polyrank); polyrank.errors; print(len(sys.modules))\n"
    code += "print({'numpy', 'pydantic', 'rich', 'torch'} & {m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "set()"


def client(rank: int, seed: int) -> dict[str, Factors]:
    draw = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, 5, generator=draw), torch.randn(4, rank, generator=draw)
    return {"fc": Factors(a, b, prefix(rank))}


SERVER = client(4, seed=9)


def test_an_adapter_is_aggregated_by_name_as_by_the_formula():
    pairs = [(client(4, 1), 10.0), (client(2, 2), 30.0)]
    found = polyrank.aggregate_adapters("rbla", pairs, SERVER)
    one = [(adapter["fc"], weight) for adapter, weight in pairs]
    expected = aggregators.rank_wise_mean(one, SERVER["fc"])
    assert torch.equal(found.adapter["fc"].a, expected.a)
    assert torch.equal(found.adapter["fc"].b, expected.b)
    assert found.base is None


@pytest.mark.parametrize("name", list(AGGREGATORS))
def test_every_aggregator_takes_adapters_of_a_stack_of_one_s_own(name):
    ranks = (4, 4) if name == "fedavg" else (4, 2)
    pairs = [(client(rank, seed), 10.0 * seed) for seed, rank in enumerate(ranks, 1)]
    first = polyrank.aggregate_adapters(name, iter(pairs), SERVER)
    again = polyrank.aggregate_adapters(name, pairs, first)
    for model in (first, again):
        factors = model.adapter["fc"]
        assert (factors.a.shape, factors.b.shape) == ((4, 5), (4, 4))
        assert factors.a.isfinite().all()
        assert factors.b.isfinite().all()


def test_what_goes_into_the_base_is_returned_beside_the_adapter():
    alone = client(3, 1)
    found = polyrank.aggregate_adapters("flora", [(alone, 7.0)], SERVER)
    torch.testing.assert_close(found.base.totals["fc"], alone["fc"].b @ alone["fc"].a)


def test_options_go_by_name_and_what_is_wrong_is_told():
    pairs = [(client(4, 1), 1.0), (client(4, 2), 1.0)]
    cut = polyrank.aggregate_adapters("florist", pairs, SERVER, tau=0.1)
    assert torch.linalg.matrix_rank(cut.base.totals["fc"]) == 1
    with pytest.raises(UnknownNameError, match="did you mean 'rbla'"):
        polyrank.aggregate_adapters("rlba", pairs, SERVER)
    with pytest.raises(SettingsError, match="unknown option 'tao'"):
        polyrank.aggregate_adapters("florist", pairs, SERVER, tao=0.1)
    wide = Factors(torch.ones(2, 6), torch.ones(4, 2), prefix(2))
    with pytest.raises(ShapeError):
        polyrank.aggregate_adapters("rbla", [({"fc": wide}, 1.0)], SERVER)
    with pytest.raises(AdapterError, match=r"expected modules of the server \(fc\), got fc2$"):
        polyrank.aggregate_adapters("rbla", [({"fc2": wide}, 1.0)], SERVER)
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(AdapterError, match="update 1: expected a positive weight, got"):
            polyrank.aggregate_adapters("rbla", [pairs[0], (client(4, 1), weight)], SERVER)
