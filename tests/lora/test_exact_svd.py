"""Against NumPy's SVD of the dense product, on spectra and stacks that are hard."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from polyrank.lora import exact_svd
from polyrank.lora.exact_svd import matrix_svd, product_svd, within

D_OUT, N, D_IN = 150, 120, 170
WANTED = 20


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def with_values(values: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors with orthogonal columns and rows, and these singular values of the product."""
    left = torch.linalg.qr(draw(D_OUT, len(values), seed=seed)).Q
    return left * values, torch.linalg.qr(draw(D_IN, len(values), seed=seed + 50)).Q.T


def of_clients(difference: float, clients: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Stacks of clients that started from the same factors and moved by ``difference``."""
    rank = N // clients
    b, a = draw(D_OUT, rank), draw(rank, D_IN, seed=1)
    bs = [b + difference * draw(D_OUT, rank, seed=10 + k) for k in range(clients)]
    rows = [a + difference * draw(rank, D_IN, seed=90 + k) for k in range(clients)]
    return torch.cat(bs, 1), torch.cat(rows)


def turned(condition: float) -> tuple[torch.Tensor, torch.Tensor]:
    """``(B T) (T⁻¹ A)`` with a T of this condition: the product does not show it."""
    left, right = torch.linalg.qr(draw(N, N)).Q, torch.linalg.qr(draw(N, N, seed=1)).Q
    values = torch.logspace(0, -np.log10(condition), N, dtype=torch.float64)
    b = draw(D_OUT, N, seed=2) @ (left * values) @ right.T
    return b, right @ (left / values).T @ draw(N, D_IN, seed=3)


EXPONENTS = torch.arange(N, dtype=torch.float64)
HARD = {
    "random": (draw(D_OUT, N), draw(N, D_IN, seed=1)),
    "repeated values": with_values(torch.tensor([3.0] * 5 + [2.0] * 15 + [1.0] * 100).double()),
    "all values alike": with_values(torch.ones(N).double()),
    "spread over 1e-12": with_values(10 ** (-12 * EXPONENTS / (N - 1))),
    "spread over 1e-12 in the wanted": with_values(10 ** (-12 * EXPONENTS / (WANTED - 1))),
    "a cliff, then a plateau at 1e-8": with_values(
        torch.where(EXPONENTS < 3, 1.0, 1e-8 * (1 - EXPONENTS / 500))
    ),
    "rank 7 in 120 columns": (draw(D_OUT, 7) @ draw(7, N, seed=1), draw(N, D_IN, seed=2)),
    "a column of zeros": (draw(D_OUT, N) * (EXPONENTS > 0), draw(N, D_IN, seed=1)),
    "zero": (torch.zeros(D_OUT, N).double(), draw(N, D_IN)),
    "one client ten times": of_clients(0.0),
    "clients a tenth apart": of_clients(0.1),
    "clients a hundredth apart": of_clients(0.01),
    "clients a thousandth apart": of_clients(1e-3),
    "clients a millionth apart": of_clients(1e-6),
    "turned, condition 1e2": turned(1e2),
    "turned, condition 1e4": turned(1e4),
    "scaled slots": (
        draw(D_OUT, N) * 10 ** (EXPONENTS % 13 - 6),
        draw(N, D_IN, seed=1) * 10 ** (6 - EXPONENTS % 13)[:, None],
    ),
}


def dense(svd: exact_svd.SVD) -> torch.Tensor:
    left, values, right = svd
    return left * values @ right


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("count", [1, 5, WANTED, 50, N])
def test_the_leading_triples_are_numpy_s(name, count):
    """Errors are measured by the largest value; the last triple must stand apart from the next."""
    b, a = HARD[name]
    u, s, vt = np.linalg.svd((b @ a).numpy(), full_matrices=False)
    found, norm = product_svd(b, a, count)
    left, values, right = found
    assert norm == pytest.approx((s**2).sum(), rel=1e-11)
    np.testing.assert_allclose(values, s[:count], rtol=0, atol=1e-12 * s[0])
    eye = torch.eye(count, dtype=torch.float64)
    torch.testing.assert_close(left.T @ left, eye, rtol=0, atol=1e-12)
    torch.testing.assert_close(right @ right.T, eye, rtol=0, atol=1e-12)
    if count == N or s[count] < 0.999 * s[count - 1] or s[count - 1] < 1e-13 * s[0]:
        expected = u[:, :count] * s[:count] @ vt[:count]
        np.testing.assert_allclose(dense(found), expected, rtol=0, atol=1e-11 * s[0])


@pytest.mark.parametrize("seed", range(5))
def test_well_separated_triples_are_right_one_by_one(seed):
    b, a = with_values(0.8 ** torch.arange(N, dtype=torch.float64), seed)
    (left, values, right), _ = product_svd(b, a, WANTED)
    u, s, vt = np.linalg.svd((b @ a).numpy(), full_matrices=False)
    for j in range(WANTED):
        one = values[j] * torch.outer(left[:, j], right[j])
        np.testing.assert_allclose(one, s[j] * np.outer(u[:, j], vt[j]), atol=1e-10 * s[j])


def test_of_repeated_values_the_space_is_right():
    b, a = HARD["repeated values"]
    (left, _, right), _ = product_svd(b, a, 5)
    expected = b[:, :5] / 3
    torch.testing.assert_close(left @ left.T, expected @ expected.T)
    torch.testing.assert_close(right.T @ right, a[:5].T @ a[:5])


@pytest.mark.parametrize("cholesky", ["random", "clients a tenth apart", "turned, condition 1e2"])
def test_the_fast_way_is_taken_where_the_columns_are_far_apart(cholesky, monkeypatch):
    monkeypatch.delattr(exact_svd, "_by_reflections")
    assert len(product_svd(*HARD[cholesky], WANTED)[0][1]) == WANTED


@pytest.mark.parametrize("shape", [(D_OUT, D_IN), (D_IN, D_OUT)])
@pytest.mark.parametrize("count", [1, WANTED, D_OUT])
def test_a_matrix_has_the_same_triples(shape, count):
    matrix = draw(*shape)
    u, s, vt = np.linalg.svd(matrix.numpy(), full_matrices=False)
    found = matrix_svd(matrix, count)
    expected = u[:, :count] * s[:count] @ vt[:count]
    np.testing.assert_allclose(dense(found), expected, atol=1e-11 * s[0])


def test_within_a_basis_is_what_the_product_has_there():
    b, a = HARD["random"]
    basis = torch.linalg.qr(draw(D_OUT, 6, seed=9)).Q
    expected = basis @ basis.T @ b @ a
    torch.testing.assert_close(dense(within(basis, (b, a), 6)), expected)


def test_nothing_of_the_dense_size_is_formed():
    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, call, types, args=(), kwargs=None):
            result = call(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple | list) else [result]:
                if isinstance(tensor, torch.Tensor):
                    self.numbers = max(self.numbers, tensor.numel())
            return result

    b, a = draw(500, 40), draw(40, 600)
    watch = Largest()
    with watch:
        product_svd(b, a, 5)
    assert watch.numbers <= a.numel()
