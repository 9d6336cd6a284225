import numpy as np
import pytest
import torch

from polyrank.aggregators.aggregator import ServerModel, unchanged
from polyrank.lora.factors import Factors, prefix
from polyrank.server.averaging import averaged


def model(seed, slots=3, base=False):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(slots, 4, generator=generator, dtype=torch.float64)
    b = torch.randn(5, slots, generator=generator, dtype=torch.float64)
    adapter = {"fc": Factors(a, b, prefix(slots))}
    extras = {"bias": torch.full((2,), float(seed)), "count": torch.tensor(seed)}
    change = None
    if base:
        moved = torch.randn(5, 4, generator=generator, dtype=torch.float64)
        change = unchanged(adapter).stepped({"fc": (moved,)})
    return ServerModel(adapter, extras, change)


def product(m):
    return (m.adapter["fc"].b @ m.adapter["fc"].a).numpy()


def test_theta_warms_up_and_then_stays():
    """theta = 2/5, 3/6, 0.5: with 4 slots a 5 x 4 product keeps everything."""
    expected, average = product(model(1, 4)), averaged(None, model(1, 4), 1, 0.5)
    for t, theta in ((2, 0.4), (3, 0.5), (4, 0.5)):
        average = averaged(average, model(t, 4), t, 0.5)
        expected = theta * expected + (1 - theta) * product(model(t, 4))
        np.testing.assert_allclose(product(average), expected, atol=1e-9)
    assert average.extras["count"] == 4
    np.testing.assert_allclose(average.extras["bias"], 0.5 * (0.5 * (0.4 + 0.6 * 2) + 1.5) + 2)


def test_in_svd_form_whole_products_are_averaged_and_their_values_become_e():
    def in_svd_form(seed):
        f = model(seed, 4).adapter["fc"]
        e = torch.randn(4, 1, generator=torch.Generator().manual_seed(seed)).double()
        return ServerModel({"fc": Factors(f.a, f.b, f.slots, e)}, {})

    def dense(m):
        f = m.adapter["fc"]
        return f.b.numpy() @ np.diag(f.e[:, 0].numpy()) @ f.a.numpy()

    average = averaged(in_svd_form(1), in_svd_form(2), 1, 0.9)
    expected = 0.25 * dense(in_svd_form(1)) + 0.75 * dense(in_svd_form(2))
    np.testing.assert_allclose(dense(average), expected, atol=1e-9)
    values = np.linalg.svd(expected, compute_uv=False)
    np.testing.assert_allclose(average.adapter["fc"].e[:, 0], values, atol=1e-9)


def test_the_average_is_the_best_of_the_server_s_rank():
    average = averaged(model(1), model(2), 1, 0.9)
    dense = 0.25 * product(model(1)) + 0.75 * product(model(2))
    values = np.linalg.svd(dense, compute_uv=False)
    assert np.isclose(np.linalg.norm(dense - product(average)), values[3])


@pytest.mark.parametrize("given_up", [1, 3])
def test_what_the_server_gives_up_leaves_the_average_too(given_up):
    later = model(2)
    later.adapter["fc"].b[:, 3 - given_up :] = 0
    average = averaged(model(1), later, 1, 0.9).adapter["fc"]
    assert (average.b != 0).any(dim=0).tolist() == [at < 3 - given_up for at in range(3)]


def test_the_change_of_the_base_is_averaged_too():
    first, second = model(1, base=True), model(2, base=True)
    average = averaged(first, second, 1, 0.9)
    expected = 0.25 * first.base.totals["fc"] + 0.75 * second.base.totals["fc"]
    torch.testing.assert_close(average.base.totals["fc"], expected)
    assert average.base.version == second.base.version


def test_a_base_that_had_not_changed_before_counts_as_zeros():
    """theta = 1/4: the average takes three quarters of the first change."""
    second = model(2, base=True)
    average = averaged(model(1), second, 1, 0.9)
    torch.testing.assert_close(average.base.totals["fc"], 0.75 * second.base.totals["fc"])


def test_without_an_average_it_is_the_model():
    last = model(2)
    assert averaged(model(1), last, 5, 0.0) is last


def test_buffers_are_those_of_the_model():
    first, second = model(1), model(2)
    average = averaged(first, second, 1, 0.9, buffers={"bias"})
    assert torch.equal(average.extras["bias"], second.extras["bias"])
