"""Learn by what the numbers of a table are scaled, from sums over the clients' rows."""

from collections.abc import Sequence

from torch import Tensor

from polyrank.errors import TrainingError
from polyrank.inputs.column_sums import ColumnSums
from polyrank.models.input_scaling import MEAN, scaling_tensors
from polyrank.protocol.messages import Wanted
from polyrank.server.measuring import Measuring
from polyrank.server.state import ServerState


def learnt_scaling(
    measuring: Measuring, state: ServerState, columns: Sequence[int]
) -> dict[str, Tensor]:
    """Ask every client for its sums, and return the buffers that scale inputs.

    Args:
        measuring: reaches the clients.
        state: its model's extras have the buffers, which scale nothing yet.
        columns: places of the numbers among the inputs.

    Raises:
        TrainingError: no client could, or the sums give no deviation that float32 holds.
    """
    sums: ColumnSums | None = None
    for measured in measuring.measured(state, {}, Wanted(columns=tuple(columns))):
        part = ColumnSums.from_tensors(measured.features)
        sums = part if sums is None else sums + part
    assert sums is not None  # measured() raises without any
    inputs = state.model.extras[MEAN].numel()
    made = scaling_tensors(inputs, columns, *sums.mean_and_deviation())
    if not all(bool(t.isfinite().all()) for t in made.values()):
        raise TrainingError(
            "the sums of columns over clients give no finite scaling: expected numbers within "
            "float32"
        )
    return made
