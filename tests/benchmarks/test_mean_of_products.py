import mean_of_products
import torch

from polyrank.aggregators import rank_wise_mean
from polyrank.aggregators.aggregator import fold_module
from polyrank.lora.factors import Factors, prefix

D_IN, D_OUT, RANK = 7, 5, 3


def drawn(seed):
    made = torch.Generator().manual_seed(seed)
    a, b = torch.randn(RANK, D_IN, generator=made), torch.randn(D_OUT, RANK, generator=made)
    return Factors(a, b, prefix(RANK))


def product(factors):
    return factors.b @ factors.a


def mean_of(updates):
    total = sum(weight for _, weight in updates)
    return sum(product(f) * (weight / total) for f, weight in updates)


UPDATES, SERVER = [(drawn(1), 2.0), (drawn(2), 1.0)], drawn(0)


def test_new_factors_of_the_mean_have_its_product():
    found = fold_module(mean_of_products.new_factors().fold.module, UPDATES, SERVER)
    mean = rank_wise_mean(UPDATES, SERVER)
    torch.testing.assert_close(product(found), product(mean), atol=1e-5, rtol=1e-5)
    assert (found.a - mean.a).abs().max() > 0.1


def test_the_mean_of_products_with_the_mean_of_a_is_as_near_as_it_gets():
    found = fold_module(mean_of_products.kept_a().fold.module, UPDATES, SERVER)
    mean = rank_wise_mean(UPDATES, SERVER)
    assert torch.equal(found.a, mean.a)
    left = mean_of(UPDATES) - product(found)
    assert (left @ mean.a.T).abs().max() < 1e-4  # nothing is left that another b would hold
    assert left.norm() < (mean_of(UPDATES) - product(mean)).norm()


def test_where_all_have_one_a_the_mean_of_products_is_held_exactly():
    same = [(Factors(SERVER.a, f.b, f.slots), weight) for f, weight in UPDATES]
    found = fold_module(mean_of_products.kept_a().fold.module, same, SERVER)
    torch.testing.assert_close(product(found), mean_of(same), atol=1e-5, rtol=1e-5)
