"""Hypothesis strategies and checks that the allocator tests share."""

import numpy as np
from hypothesis import strategies as st

from polyrank.allocators import Budget, Evidence, Limits, ModuleRange

ranges = st.builds(
    lambda low, more, slot: ModuleRange(low, low + more, slot),
    st.integers(1, 4),
    st.integers(0, 12),
    st.sampled_from([1, 2, 3, 7, 10, 100]),
)
ids = st.lists(st.text("ab1", min_size=1, max_size=4), min_size=1, max_size=8, unique=True)
values = st.sampled_from([0.0, 1.0]) | st.floats(-1e3, 1e3)


@st.composite
def evidences(draw):
    clients = draw(ids)
    column = st.lists(values, min_size=len(clients), max_size=len(clients)).map(np.array)
    criteria = {name: draw(column) for name in ("x", "y", "z")[: draw(st.integers(1, 3))]}
    return Evidence(clients, criteria, seed=draw(st.integers(0, 3)))


@st.composite
def limits_for(draw, clients, budget=None):
    """Limits that are feasible; with a budget where ``budget``, by chance where None."""
    modules = {f"m{at}": draw(ranges) for at in range(draw(st.integers(1, 3)))}
    caps = draw(st.none() | st.lists(st.integers(1, 9), min_size=clients, max_size=clients))
    limits = Limits(modules, None, None if caps is None else np.array(caps))
    if budget is False or (budget is None and draw(st.booleans())):
        return limits
    kind = draw(st.sampled_from(["mean_rank", "parameters", "bytes"]))
    free = Limits(modules, Budget(kind, 1e9), limits.caps)
    least, most = (spent(dict(enumerate(b)), free) for b in free.bounds(["c"] * clients))
    units = draw(st.floats(least, most * 1.1 + 1))
    per = clients * len(modules) if kind == "mean_rank" else 1
    amount = max(units / per, least / per)
    while Budget(kind, amount).total(clients, len(modules)) < least:
        amount = np.nextafter(amount, np.inf)
    return Limits(modules, Budget(kind, float(amount)), limits.caps)


def spent(ranks, limits):
    """Cost of ranks, module by module, written out again from the definition of the kinds."""
    kind = limits.budget.kind
    total = 0
    for module, row in zip(limits.modules.values(), ranks.values(), strict=True):
        slot = {
            "mean_rank": 1,
            "parameters": module.slot_parameters,
            "bytes": module.slot_parameters * limits.budget.bytes_per_number,
        }[kind]
        total += int(np.sum(row)) * slot
    return total


def allowed(limits, clients):
    amount = limits.budget.amount
    return amount * clients * len(limits.modules) if limits.budget.kind == "mean_rank" else amount


def largest(limits, clients):
    """Largest rank by module and client."""
    caps = np.full(clients, 10**9) if limits.caps is None else limits.caps
    return {name: np.minimum(module.r_max, caps) for name, module in limits.modules.items()}


def permuted(evidence, limits, order):
    """The same clients in another order."""
    moved = Evidence(
        [evidence.clients[at] for at in order],
        {name: column[order] for name, column in evidence.criteria.items()},
        evidence.round,
        evidence.seed,
    )
    caps = None if limits.caps is None else limits.caps[order]
    return moved, Limits(limits.modules, limits.budget, caps)


def spectra_for(evidence, limits):
    """Falling ratios for each client and module, the same whatever the order of clients."""
    return {
        client: {module: _ratios(evidence.seed, client, module) for module in limits.modules}
        for client in evidence.clients
    }


def _ratios(*names):
    rng = np.random.default_rng([ord(letter) for letter in "/".join(map(str, names))])
    values = np.sort(rng.random(rng.integers(1, 12)) ** 3)[::-1]
    return (values / values.sum()).tolist()
