"""Aggregators against the machine and against the obvious way: bandwidth, SVD, memory.

    python benchmarks/aggregation.py [--quick] [--repeats N]

Prints, on one thread, the peak memory of each aggregator with 10 and with 1,000 clients, in
fresh processes, and medians of ratios of CPU time, each taken within one repeat:
  * bandwidth of rbla and zero_padding as a share of that of a copy of the same updates; a
    fold reads an update, reads the sums and writes them, a copy reads and writes;
  * flexlora, exact and randomised, and florist with tau 0.9, against forming the dense mean
    update in float32 and its float32 SVD, 4096 x 4096, 32 clients (--quick: 1024 x 1024).
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice

import torch
from torch import Tensor

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.aggregators.flexlora import Method, mean_product
from polyrank.aggregators.florist import thresholded_mean
from polyrank.aggregators.rbla import rank_wise_mean
from polyrank.aggregators.zero_padding import zero_padded_mean
from polyrank.lora.factors import Factors, new_factors, prefix
from polyrank.protocol.messages import TaskId, Update
from polyrank.registry import Named
from polyrank.threads import one_thread

SEED = 0
RANKS = (4, 8, 12, 16, 20, 24, 32, 64)
SLOTS = 64
MEMORY_SIZE, MEMORY_RANKS = 1024, (4, 8, 16, 36)  # 16 on average

TAU = 0.9
SVD = {"flexlora randomised": {"svd": "randomised"}}
MEASURED = [name for name in AGGREGATORS if name != "fedavg"] + list(SVD)

Weighted = tuple[Factors, float]


def seconds(call: Callable[[], object]) -> float:
    """Return the CPU time of a call: on one thread, its time on an idle machine."""
    started = time.process_time()
    call()
    return time.process_time() - started


def show(name: str, values: list[float], unit: str = "") -> None:
    """Print a median with its range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"  {name:<46} {middle:8.3g}{unit}  ({low:.3g} to {high:.3g}, {len(values)} repeats)")


def random_update(size: int, slots: Tensor, generator: torch.Generator) -> Factors:
    """Draw factors of one client."""
    a = torch.randn(len(slots), size, generator=generator)
    return Factors(a, torch.randn(size, len(slots), generator=generator), slots)


def bandwidth(size: int, repeats: int, scattered: bool) -> None:
    """Print the bandwidth of the slot-wise means as a share of a copy's."""
    generator = torch.Generator().manual_seed(SEED)
    updates: list[Weighted] = []
    for place, rank in enumerate(RANKS * 4):
        drawn = torch.randperm(SLOTS, generator=generator)[:rank].sort().values
        slots = drawn if scattered else prefix(rank)
        updates.append((random_update(size, slots, generator), 1.0 + place))
    server = new_factors(SLOTS, size, size, generator)
    copies = [(torch.empty_like(f.a), torch.empty_like(f.b)) for f, _ in updates]

    def copy() -> None:
        for (f, _), (a, b) in zip(updates, copies, strict=True):
            a.copy_(f.a)
            b.copy_(f.b)

    moved = sum(f.a.nbytes + f.b.nbytes for f, _ in updates)
    kind = "scattered" if scattered else "prefix"
    print(f"{size} x {size}, {len(updates)} clients, {kind} slots, {moved / 2**20:.0f} MiB:")
    rows: dict[str, list[float]] = {}
    copy()
    for _ in range(repeats):
        copied = 2 * moved / seconds(copy)
        rows.setdefault("copy, GB/s", []).append(copied / 1e9)
        for name, fold in (("rbla", rank_wise_mean), ("zero_padding", zero_padded_mean)):
            folded = 3 * moved / seconds(lambda f=fold: f(updates, server))
            rows.setdefault(f"{name} / copy", []).append(folded / copied)
    for name, values in rows.items():
        show(name, values)


def shared_updates(size: int, total: int, clients: int = 32) -> list[Weighted]:
    """Draw updates with something in common: a falling spectrum, and noise of each client."""
    generator = torch.Generator().manual_seed(SEED)
    common = random_update(size, prefix(SLOTS), generator)
    falling = torch.linspace(0, -3, SLOTS).exp()
    ranks = list(islice(cycle([total // clients // 2, total // clients * 3 // 2]), clients))
    updates = []
    for place, rank in enumerate(ranks):
        noise = random_update(size, prefix(rank), generator)
        own = min(rank, SLOTS)
        a, b = 0.3 * noise.a, 0.3 * noise.b * falling.mean()
        a[:own] += common.a[:own]
        b[:, :own] += common.b[:, :own] * falling[:own]
        updates.append((Factors(a, b, prefix(rank)), 1.0 + place))
    return updates


def dense_mean(updates: list[Weighted], dtype: torch.dtype = torch.float32) -> Tensor:
    """Form the mean of the products."""
    first = updates[0][0]
    total = torch.zeros(first.b.shape[0], first.a.shape[1], dtype=dtype)
    for f, weight in updates:
        total.addmm_(f.b.to(dtype), f.a.to(dtype), alpha=weight)
    return total / sum(weight for _, weight in updates)


def dense_way(updates: list[Weighted]) -> tuple[Tensor, Tensor]:
    """Form the mean, decompose it, keep the leading triples."""
    u, s, vt = torch.linalg.svd(dense_mean(updates), full_matrices=False)
    root = s[:SLOTS].sqrt()
    return u[:, :SLOTS] * root, root[:, None] * vt[:SLOTS]


def error(mean: Tensor, b: Tensor, a: Tensor) -> float:
    """Return the relative Frobenius error of ``b @ a``, in float64."""
    return float(torch.linalg.norm(mean - b.double() @ a.double()) / torch.linalg.norm(mean))


def decompositions(size: int, total: int, repeats: int) -> None:
    """Print speed-ups over the dense way, and errors."""
    updates = shared_updates(size, total)
    generator = torch.Generator().manual_seed(SEED)
    server = new_factors(SLOTS, size, size, generator)
    print(f"{size} x {size}, {len(updates)} clients, ranks add up to {total}, {SLOTS} kept:")

    def flexlora(svd: Method) -> tuple[Tensor, Tensor]:
        found = mean_product(updates, server, svd=svd)
        return found.b, found.a

    ways = {
        "exact": lambda: flexlora("exact"),
        "randomised": lambda: flexlora("randomised"),
        "florist": lambda: thresholded_mean(updates, size, size, tau=TAU),
    }
    rows: dict[str, list[float]] = {}
    for _ in range(repeats):
        started = time.process_time()
        by_dense_way = dense_way(updates)
        dense = time.process_time() - started
        rows.setdefault("dense mean and SVD, seconds", []).append(dense)
        for name, way in ways.items():
            taken = statistics.median(seconds(way) for _ in range(3))
            rows.setdefault(f"{name}, seconds", []).append(taken)
            rows.setdefault(f"dense / {name}", []).append(dense / taken)
    for name, values in rows.items():
        show(name, values)
    mean = dense_mean(updates, torch.float64)
    whole = new_factors(total, size, size, generator)
    kept_all = mean_product(updates, whole)
    print(
        f"  exact, nothing cut: relative error          {error(mean, kept_all.b, kept_all.a):.2g}"
    )
    least = error(mean, *by_dense_way)
    print(f"  {SLOTS} kept, dense float32 SVD: relative error   {least:.7f}")
    for svd in ("exact", "randomised"):
        print(f"  {SLOTS} kept, {svd}: above that by {error(mean, *flexlora(svd)) - least:.2g}")
    b, a = ways["florist"]()
    print(f"  florist, tau {TAU}: {len(a)} kept, relative error {error(mean, b, a):.7f}")


def peak_memory(name: str, clients: int) -> None:
    """Fold updates that are drawn one by one; print what this added to the peak."""
    generator = torch.Generator().manual_seed(SEED)
    server = new_factors(SLOTS, MEMORY_SIZE, MEMORY_SIZE, generator)
    aggregator = AGGREGATORS.build(Named(name.split()[0], SVD.get(name, {})))
    ranks = list(islice(cycle(MEMORY_RANKS), clients))
    rule = aggregator.local(1)

    def updates() -> Iterator[Update]:
        for client, rank in enumerate(ranks):
            factors = random_update(MEMORY_SIZE, prefix(rank), generator).only(rule.sends)
            yield Update(TaskId("memory", 1, str(client)), {"module": factors}, {}, 1.0, 0.0)

    torch.linalg.svd(torch.randn(8, 8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    previous = ServerModel({"module": server}, {})
    fold = aggregator.fold
    if aggregator.expecting:
        fold = aggregator.expecting(previous, [{"module": prefix(rank)} for rank in ranks])
    state = fold.init(previous)
    for update in updates():
        state = fold.add(state, update)
    fold.finish(state, previous)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB here
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    print(f"  {name:<22} {clients:>5} clients: {added / 2**20:6.0f} MiB", flush=True)


def main() -> None:
    """Run everything, or one measurement of memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1024 x 1024 instead of 4096 x 4096")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        peak_memory(given.memory[0], int(given.memory[1]))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), seed {SEED}")
    # first: a child's high-water mark starts at that of its parent
    print(
        f"Added to the peak, {MEMORY_SIZE} x {MEMORY_SIZE}, ranks {MEMORY_RANKS} of {SLOTS} slots:"
    )
    for name in MEASURED:
        for clients in (10, 1000):
            command = [sys.executable, __file__, "--memory", name, str(clients)]
            subprocess.run(command, check=True)
    for size in (768, 4096):
        for scattered in (False, True):
            bandwidth(size, 4 * given.repeats, scattered)
    size = 1024 if given.quick else 4096
    for total in (size // 8, size * 17 // 64):  # 512 and 1088 of 4096
        decompositions(size, total, given.repeats)


if __name__ == "__main__":
    with one_thread():
        main()
