"""Aggregation of whole adapters by an aggregator's name, for a stack of your own."""

import math
from collections.abc import Iterable, Iterator

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel, aggregate
from polyrank.errors import AdapterError
from polyrank.lora.factors import Adapter
from polyrank.protocol.messages import TaskId, Update
from polyrank.registry import Named


def aggregate_adapters(
    method: str,
    updates: Iterable[tuple[Adapter, float]],
    previous: Adapter | ServerModel,
    **options: object,
) -> ServerModel:
    """Combine the clients' adapters into the next global one.

    Args:
        method: name of an aggregator, or ``"package.module:function"`` of your own.
        updates: per client, its adapter after training, ``{module: Factors}``, and a positive
            weight, usually its number of training examples. Read once.
        previous: the server's adapter, with all slots of every module, or what the last call
            returned.
        options: the aggregator's own, such as ``tau`` of ``"florist"``.

    Returns:
        The next global model: ``adapter``, and as ``base`` what the method has added to the
        frozen weights; None for methods that add nothing.

    Raises:
        UnknownNameError: there is no such aggregator.
        SettingsError: an option is unknown, missing or of the wrong type.
        AdapterError: a client has a module that the server has not, or its weight is not a
            positive number.
        ShapeError: a client's factors do not fit the server's.
    """
    aggregator = AGGREGATORS.build(Named(method, options))
    server = previous if isinstance(previous, ServerModel) else ServerModel(previous, {})
    return aggregate(aggregator, _answers(updates, server.adapter), server)


def _answers(updates: Iterable[tuple[Adapter, float]], known: Adapter) -> Iterator[Update]:
    """Yield the updates as clients of a run send them."""
    for number, (adapter, client_weight) in enumerate(updates):
        if others := adapter.keys() - known.keys():
            raise AdapterError(
                f"update {number}: expected modules of the server ({', '.join(known)}), "
                f"got {', '.join(sorted(others))}"
            )
        if not 0 < client_weight < math.inf:
            raise AdapterError(f"update {number}: expected a positive weight, got {client_weight}")
        yield Update(TaskId("", 0, str(number)), adapter, {}, client_weight, 0.0)
