"""Split a data set into what the server holds and what each client holds."""

from dataclasses import dataclass

import numpy as np

from polyrank.client_names import fault_of_name
from polyrank.datasets.data import Data
from polyrank.datasets.stratified import draw
from polyrank.errors import DataError, EmptyClientError, SettingsError
from polyrank.partitioners.rows import Partition, Rows
from polyrank.seeding import numpy_stream


@dataclass(frozen=True, eq=False)
class ClientRows:
    """The rows of one client: sorted indices into ``Data.train_x`` and ``Data.train_y``.

    Args:
        name: "0", "1", ..., or the name of the client's group.
        train: (n_k,) rows it trains on, at least one.
        test: (m_k,) rows it is tested on, possibly none.
    """

    name: str
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Splits:
    """Who holds which training rows; no row is in two places, each is in one.

    Args:
        public: sorted indices of the rows for pre-training.
        validation: sorted indices of the rows on which rounds and settings are chosen.
        clients: the clients, in the order of the partitioner.
        left_out: sorted indices of the rows that the partitioner gave to nobody.
    """

    public: np.ndarray
    validation: np.ndarray
    clients: tuple[ClientRows, ...]
    left_out: np.ndarray


def split(
    data: Data,
    partition: Partition,
    *,
    clients: int | None,
    public: float = 0.0,
    validation: float = 0.1,
    client_test: float = 0.2,
    seed: int,
) -> Splits:
    """Draw the public and the validation rows, then partition the rest.

    Public and validation rows are drawn label by label. Each of these draws, the partition
    and each client's test part has a random stream of its own.

    Args:
        data: the data set; its test part is not touched.
        partition: a partitioner with its options bound.
        clients: number of clients; None where the partitioner knows it.
        public: share of all training rows for pre-training, in [0, 1).
        validation: share of all training rows for validation, in [0, 1).
        client_test: share of a client's rows that is its own test part, in [0, 1): at least
            one row if it is above 0, and never the last one.
        seed: root seed.

    Returns:
        Indices into the training rows of ``data``. If the clients are exactly the groups of
        the data they bear the groups' names, otherwise "0", "1", ...

    Raises:
        SettingsError: a share or an option is out of range.
        DataError: the rows do not suffice, or a group has a name that no client can have.
        EmptyClientError: a client has no rows.
    """
    _check_shares(public, validation, client_test)
    everything = np.arange(len(data.train_y))
    public_rows = _draw(data, everything, public, "public", seed)
    rest = np.setdiff1d(everything, public_rows, assume_unique=True)
    validation_rows = _draw(data, rest, validation / (1 - public), "validation", seed)
    rest = np.setdiff1d(rest, validation_rows, assume_unique=True)
    parts = _partition(data, rest, partition, clients, seed)
    names = _names(data, rest, parts)
    return Splits(
        public=public_rows,
        validation=validation_rows,
        clients=tuple(
            _client(name, part, client_test, seed) for name, part in zip(names, parts, strict=True)
        ),
        left_out=np.setdiff1d(rest, np.concatenate(parts), assume_unique=True),
    )


def _check_shares(public: float, validation: float, client_test: float) -> None:
    shares = {"public": public, "validation": validation, "client_test": client_test}
    for option, share in shares.items():
        if not 0 <= share < 1:
            raise SettingsError(f"{option} = {share}: expected a share, 0 <= {option} < 1")
    if public + validation >= 1:
        raise SettingsError(
            f"public = {public} and validation = {validation}: expected a sum below 1, or no "
            "rows are left for clients"
        )


def _draw(data: Data, rows: np.ndarray, share: float, part: str, seed: int) -> np.ndarray:
    """Draw a stratified share of ``rows``."""
    groups = None if data.train_groups is None else data.train_groups[rows]
    rng = numpy_stream(seed, "split", part)
    drawn: np.ndarray = rows[draw(data.train_y[rows], share, rng, part=part, groups=groups)]
    return drawn


def _partition(
    data: Data, rows: np.ndarray, partition: Partition, clients: int | None, seed: int
) -> list[np.ndarray]:
    """Partition ``rows`` and check the result, since partitioners may be the user's own."""
    groups = None if data.train_groups is None else data.train_groups[rows]
    given = Rows(data.train_y[rows], groups)
    parts = partition(given, clients, numpy_stream(seed, "split", "partition"))
    if not parts:
        raise DataError("the partitioner returned no clients: expected at least one")
    times = np.zeros(len(rows), dtype=np.int64)
    taken = np.concatenate(parts)
    known = (taken >= 0) & (taken < len(rows))
    np.add.at(times, taken[known], 1)
    if not known.all() or times.max() > 1:
        raise DataError(
            f"the partitioner gave a row twice, or one that is not there: expected different "
            f"indices below {len(rows)}"
        )
    return [np.sort(rows[part]) for part in parts]


def _names(data: Data, rows: np.ndarray, parts: list[np.ndarray]) -> list[str]:
    """Name the clients by their groups if each client is one whole group."""
    numbers = [str(k) for k in range(len(parts))]
    if data.train_groups is None:
        return numbers
    sizes = dict(zip(*np.unique(data.train_groups[rows], return_counts=True), strict=True))
    names = []
    for part in parts:
        inside = np.unique(data.train_groups[part])
        if len(inside) != 1 or sizes[inside[0]] != len(part):
            return numbers
        names.append(_fit_name(str(inside[0])))
    lost = np.setdiff1d(data.train_groups, data.train_groups[rows])
    if len(lost):
        raise EmptyClientError(
            f"client {str(lost[0])!r} has no rows: all of them became public or validation rows; "
            "expected smaller shares public and validation, or data without such small groups"
        )
    return names


def _fit_name(name: str) -> str:
    fault = fault_of_name(name)
    if fault:
        raise DataError(fault)
    return name


def _client(name: str, rows: np.ndarray, client_test: float, seed: int) -> ClientRows:
    """Split a client's rows into train and test."""
    if len(rows) == 0:
        raise EmptyClientError(
            f"client {name!r} has no rows: expected at least one; ask for fewer clients or for "
            "less skew"
        )
    wanted = max(1, round(client_test * len(rows))) if client_test > 0 else 0
    shuffled = numpy_stream(seed, "split", "client_test", name).permutation(rows)
    tests = min(wanted, len(rows) - 1)
    return ClientRows(name, np.sort(shuffled[tests:]), np.sort(shuffled[:tests]))
