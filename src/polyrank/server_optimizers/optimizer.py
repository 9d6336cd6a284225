"""One step of the server from its model towards the aggregated one, with memory.

    d = aggregated - x,  m = momentum m + gain d,  v = second(v, d²),
    x = x + learning_rate m / (sqrt(v) + tau)

Where slot j of one round is slot j of the next, x are the numbers of the factors and of the
extras. A method that decomposes a product turns its factors every round; there x is the
product ``b a``, as a sum of factors, never multiplied out below full rank. A method that
changes the base keeps its aggregated factors, and the base takes up the rest, as one dense
step. What the round did not touch keeps its value and its memory: a factor that rests, a slot
that no client owned. Buffers, such as batch norm's running variance, are statistics and not
parameters: they become what was aggregated, for a step beyond it can make a variance negative.

Ours, as no paper says it: for products, v is one number a module, the mean of d² over its
d_in x d_out entries, because single entries of a sum of factors cannot be had cheaply.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polyrank.aggregators.aggregator import Aggregator, ServerModel, unchanged
from polyrank.lora.factors import Factors, of_parts, product_norm
from polyrank.lora.low_rank import FactoredSum, Product

Rejoin = Callable[[Product, Factors], Factors]
Memory = Mapping[str, Tensor]


@dataclass(frozen=True)
class ServerOptimizer:
    """The rule; ``advance`` applies it.

    Args:
        learning_rate: of the server.
        momentum: share of m that stays.
        gain: share of d that comes in.
        second: v and d² -> the next v; None for no division.
        tau: added to the root of v, which starts at tau squared.
    """

    learning_rate: float
    momentum: float
    gain: float
    second: Callable[[Tensor, Tensor], Tensor] | None = None
    tau: float = 0.0

    def rate(self, v: Tensor | None, squared: Tensor) -> tuple[Tensor | float, Tensor | None]:
        """Return what m is multiplied by, and the next v."""
        if self.second is None:
            return self.learning_rate, None
        v = self.second(torch.full_like(squared, self.tau**2) if v is None else v, squared)
        return self.learning_rate / (v.sqrt() + self.tau), v


def advance(
    optimizer: ServerOptimizer,
    memory: Memory,
    previous: ServerModel,
    aggregated: ServerModel,
    aggregator: Aggregator,
    buffers: Collection[str] = (),
) -> tuple[ServerModel, dict[str, Tensor]]:
    """Return the next model and the next memory, which holds named tensors.

    Args:
        optimizer: the rule.
        memory: empty before the first round.
        previous: the server's model.
        aggregated: what the aggregator made of it.
        aggregator: by which it is known what x is.
        buffers: names of the extras that are no parameters.
    """
    step = _Step(optimizer, memory)
    adapter = dict(aggregated.adapter)
    if aggregated.base is None:
        for module, new in aggregated.adapter.items():
            old = previous.adapter[module]
            if aggregator.rejoin:
                adapter[module] = step.product(module, old, new, aggregator.rejoin)
            else:
                adapter[module] = step.factors(module, old, new)
    extras = {
        n: t if n in buffers else step.numbers(f"extra/{n}", previous.extras[n], t)
        for n, t in aggregated.extras.items()
    }
    model = replace(aggregated, adapter=adapter, extras=extras)
    if aggregated.base is not None:
        model = step.base(previous, model)
    return model, step.after


class _Step:
    """One round's step; what is to be remembered gathers in ``after``."""

    def __init__(self, optimizer: ServerOptimizer, memory: Memory) -> None:
        self.optimizer = optimizer
        self.before = memory
        self.after = dict(memory)

    def numbers(self, key: str, old: Tensor, new: Tensor) -> Tensor:
        """Step number by number."""
        if new is old or not new.is_floating_point():
            return new
        move = self._move(key, (new - old).to(torch.promote_types(old.dtype, torch.float32)))
        return (old + move).to(old.dtype)

    def slots(self, key: str, old: Tensor, new: Tensor) -> Tensor:
        """Step number by number in the slots, (r, d) one a row, that the round has changed."""
        resting = (new == old).all(dim=1, keepdim=True)
        if resting.all():
            return new
        stepped = self.numbers(key, old, new)
        for name, start in ((f"m/{key}", 0.0), (f"v/{key}", self.optimizer.tau**2)):
            if name in self.after:
                kept = self.before.get(name, torch.full_like(self.after[name], start))
                self.after[name] = torch.where(resting, kept, self.after[name])
        return torch.where(resting, new, stepped)

    def factors(self, module: str, old: Factors, new: Factors) -> Factors:
        """Step in every factor, number by number."""
        found = {}
        for part, tensor in new.tensors.items():
            before = old.tensors[part]
            rows = (before.T, tensor.T) if part.axis else (before, tensor)
            stepped = self.slots(f"{module}/{part.value}", *rows)
            found[part] = stepped.T.contiguous() if part.axis else stepped
        return of_parts(found, new.slots)

    def product(self, module: str, old: Factors, new: Factors, rejoin: Rejoin) -> Factors:
        """Step in ``b a``; what m was follows from the last two models and the last rate."""
        size = old.a.shape[1] * old.b.shape[0]
        change = Factors(torch.cat([new.a, -old.a]), torch.cat([new.b, old.b], dim=1), new.slots)
        squared = torch.tensor(product_norm(change) ** 2 / size, dtype=torch.float64)
        rate, v = self.optimizer.rate(self.before.get(f"v/{module}"), squared)
        kept = 0.0
        if f"rate/{module}" in self.before:
            kept = float(rate * self.optimizer.momentum / self.before[f"rate/{module}"])
        moved = float(rate * self.optimizer.gain)
        total = FactoredSum(old.a.shape[1], old.b.shape[0])
        total.add(new.b, new.a, moved)
        total.add(old.b, old.a, 1 - moved + kept)
        if kept:
            total.add(self.before[f"last/{module}/b"], self.before[f"last/{module}/a"], -kept)
        self.after |= {f"last/{module}/a": old.a, f"last/{module}/b": old.b}
        self.after[f"rate/{module}"] = torch.as_tensor(rate, dtype=torch.float64)
        if v is not None:
            self.after[f"v/{module}"] = v
        return rejoin(total.product(), new)

    def base(self, previous: ServerModel, model: ServerModel) -> ServerModel:
        """Step in base and product together: the factors stay, the base takes up the rest."""
        start = previous.base or unchanged(previous.adapter)
        assert model.base is not None
        steps: dict[str, tuple[Tensor]] = {}
        for module, total in model.base.totals.items():
            new, old = model.adapter[module], previous.adapter[module]
            factors = new.b @ new.a - old.b @ old.a
            change = total - start.totals[module] + factors
            steps[module] = (self._move(f"{module}/base", change, mean=True) - factors,)
        return replace(model, base=start.stepped(steps))

    def _move(self, key: str, change: Tensor, *, mean: bool = False) -> Tensor:
        m = self.optimizer.gain * change
        if f"m/{key}" in self.before:
            m = m + self.optimizer.momentum * self.before[f"m/{key}"]
        squared = change.square().mean() if mean else change.square()
        rate, v = self.optimizer.rate(self.before.get(f"v/{key}"), squared)
        self.after[f"m/{key}"] = m
        if v is not None:
            self.after[f"v/{key}"] = v
        return m * rate
