"""Operations of training, against a count by hand."""

import polyrank
from polyrank.runs.flops import training_flops
from tests.small import small


def by_hand(first: int, second: int) -> int:
    """Of 64 inputs, 16 hidden units and 10 labels, with LoRA of these ranks; 2 a multiplication.

    Forward all products. Backward, the factors' gradients and those of what goes into them: of the
    first layer's inputs there are none, and the base has none of its own weights.
    """
    forward = 64 * 16 + first * (64 + 16) + 16 * 10 + second * (16 + 10)
    factors = first * (64 + 16) + second * (16 + 10)
    inputs = first * 16 + 16 * 10 + second * (16 + 10)
    return 2 * (forward + factors + inputs)


def test_operations_are_those_of_the_products_in_both_directions(tmp_path):
    folder = polyrank.run(small(rounds=1), out=tmp_path / "run").folder
    asked = [{"fc1": 2, "fc2": 2}, {"fc1": 1, "fc2": 5}]
    assert training_flops(folder, asked) == [by_hand(2, 2), by_hand(1, 5)]
