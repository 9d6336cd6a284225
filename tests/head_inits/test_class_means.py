"""Class means."""

from dataclasses import replace

from polyrank.head_inits import HEAD_INITS
from tests.head_inits.head_problems import problem, solved, sums_of


def test_class_means_ask_for_no_products():
    sums = replace(sums_of(*problem()), products=None)
    assert not HEAD_INITS.build("class_means").products
    assert (sums + sums).products is None
    solved("class_means", sums)
