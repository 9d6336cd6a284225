"""Open updates that came in eight bits."""

from dataclasses import replace

from polyrank.aggregators.aggregator import ServerModel
from polyrank.lora.factors import Factors, Tensors, of_parts
from polyrank.lora.int8 import Packed, extra_name, factor_name
from polyrank.protocol.messages import TrainTask, Update


def opened(update: Update, task: TrainTask, model: ServerModel) -> Update:
    """Return an update with its numbers in full.

    What is in eight bits is a difference to what the client was sent. It is added to the server's
    own numbers, not to the rounded ones that the client began with, so that rounding on the way
    down never gets into the model. A change of the product is one already.

    Args:
        update: one that the guards have accepted.
        task: what the client was asked.
        model: the server's, which the client was sent a part of.
    """
    if not update.scales:
        return update
    adapter, extras = Packed(update.adapter, update.extras, update.scales).opened()
    if task.change is None:
        adapter = {m: _added(m, f, model.adapter[m], update.scales) for m, f in adapter.items()}
    whole = {
        name: model.extras[name] + tensor if extra_name(name) in update.scales else tensor
        for name, tensor in extras.items()
    }
    return replace(update, adapter=adapter, extras=whole, scales={})


def _added(module: str, difference: Factors, model: Factors, scales: Tensors) -> Factors:
    own = model.take(difference.slots).tensors
    found = {
        part: own[part] + tensor if factor_name(module, part) in scales else tensor
        for part, tensor in difference.tensors.items()
    }
    return of_parts(found, difference.slots)
