"""The exported average of the global model: a running mean that is never sent to clients.

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992, is the
idea; the exponential form with a warm-up is ours. Late rounds of a federation jump about,
above all when few clients take part in each, and their mean is better than the last.
"""

from collections.abc import Collection

from polyrank.aggregators.aggregator import ServerModel
from polyrank.lora.base_change import BaseChange
from polyrank.lora.factors import Factors
from polyrank.lora.low_rank import FactoredSum, as_factors, leading_triples


def averaged(
    average: ServerModel | None,
    model: ServerModel,
    round: int,
    most: float,
    buffers: Collection[str] = (),
) -> ServerModel:
    """Return ``theta average + (1 - theta) model``, with ``theta = min(most, t / (t + 3))``.

    Products are averaged, not factors, and cut to as many slots as the server's model has in use,
    so that what is given up leaves the average, too. Extras and the change of the base are averaged
    as they are; integers and buffers are those of ``model``.

    Args:
        average: after the round before, None before the first.
        model: the global model after round t.
        round: t, from 1.
        most: at least 0 and below 1; 0 gives ``model`` itself.
        buffers: names of the extras that are no parameters.
    """
    if average is None or not most:
        return model
    theta = min(most, round / (round + 3))
    adapter = {m: _mean(average.adapter[m], f, theta) for m, f in model.adapter.items()}
    extras = {
        n: average.extras[n].lerp(t, 1 - theta) if t.is_floating_point() and n not in buffers else t
        for n, t in model.extras.items()
    }
    base = model.base
    if base is not None:
        before = average.base.totals if average.base else {}
        totals = {
            m: before[m].lerp(t, 1 - theta) if m in before else (1 - theta) * t
            for m, t in base.totals.items()
        }
        base = BaseChange(base.version, totals)
    return ServerModel(adapter, extras, base)


def _mean(average: Factors, model: Factors, theta: float) -> Factors:
    total = FactoredSum(model.a.shape[1], model.b.shape[0])
    for factors, weight in ((average.folded(), theta), (model.folded(), 1 - theta)):
        total.add(factors.b, factors.a, weight)
    used = int((model.b != 0).any(dim=0).sum())
    return as_factors(leading_triples(total.product(), used), model)
