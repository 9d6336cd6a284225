import pytest

from polyrank.lora.scaling import Scaling


@pytest.mark.parametrize(
    ("per", "rank", "expected"),
    [
        ("constant", 16, 2.0),
        ("rank", 16, 0.125),  # of the runs of RBLA's authors
        ("rank", 160, 0.0125),
        ("sqrt_rank", 16, 0.5),  # rsLoRA, equation 4
    ],
)
def test_alpha_is_divided_by_the_rank_or_its_root(per, rank, expected):
    assert Scaling(2.0, per).training(rank) == expected


def test_only_where_products_count_are_all_ranks_stored_at_the_server_s_scaling():
    assert Scaling(2.0, "rank", slots=8).stored(4) == 0.5
    assert Scaling(2.0, "rank", slots=8, one_unit=True).stored(4) == 0.25
