"""The local engine against bare loops of one thread: time, start-up, and memory by clients.

    python benchmarks/local_engine.py [--repeats N]

Prints the median of the ratios, each taken within one repeat:
  * engine with one and with two workers against a bare PyTorch loop over the same PEFT
    model, the same examples and the same steps;
  * the same against a loop with hand-written LoRA products.
Then the engine's start-up, and the peak memory of runs with 10, 100 and 1,000 clients.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyrank.aggregators.aggregator import ServerModel, aggregate
from polyrank.aggregators.rbla import rbla
from polyrank.client.site import Site
from polyrank.engines.crew import Crew
from polyrank.engines.local import LocalEngine
from polyrank.inputs.arrays import Examples, RowView
from polyrank.learning.blueprint import Blueprint
from polyrank.lora.factors import Adapter, Factors, prefix, start_factors
from polyrank.lora.scaling import Scaling
from polyrank.lora.shapes import ModuleShape
from polyrank.models import MODELS
from polyrank.peft_bridge import Bridge, find_extras, find_targets
from polyrank.protocol.messages import Download, TaskId, TrainTask, Update
from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings
from polyrank.threads import one_thread

SEED = 0
SHAPE, CLASSES, ROWS = (1, 28, 28), 10, 12_000


def make_crew(clients: int) -> Crew:
    """MNIST-sized random images; sizes on a staircase, as in the RBLA paper."""
    settings = make_settings(
        {
            "seed": SEED,
            "model": {"kind": "mlp", "hidden": [200, 200]},
            "training": {"epochs": 2, "batch_size": 64, "learning_rate": 1e-3},
        }
    )
    generator = torch.Generator().manual_seed(SEED)
    inputs = torch.randint(0, 256, (ROWS, *SHAPE), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, CLASSES, (ROWS,), generator=generator)
    examples = Examples(inputs, labels)
    shares = torch.arange(1, clients + 1).double()
    ends = (shares.cumsum(0) / shares.sum() * ROWS).long().tolist()
    starts = [0, *ends[:-1]]
    empty = RowView(examples, torch.arange(0))
    sites = {
        str(k): Site(RowView(examples, torch.arange(starts[k], ends[k])), empty, secret=k)
        for k in range(clients)
    }
    model = MODELS.build(settings.model).model(SHAPE, CLASSES, SEED)
    base = {n: t.detach().clone() for n, t in model.state_dict().items()}
    return Crew(Blueprint(settings, base, SHAPE, CLASSES), sites, None)


def staircase_adapters(clients: int, shapes: dict[str, ModuleShape]) -> dict[str, Adapter]:
    """Ranks 160, 160, 100 at the top of the staircase."""
    full = {"fc1": 160, "fc2": 160, "fc3": 100}
    return {
        str(k): {
            name: start_factors((s.d_in, s.d_out), max(1, full[name] * (k + 1) // clients), k, name)
            for name, s in shapes.items()
        }
        for k in range(clients)
    }


def make_tasks(crew: Crew, adapters: dict, extras: dict) -> list[TrainTask]:
    """One training for each client, the largest first."""
    order = sorted(crew.sites, key=lambda c: -len(crew.sites[c].train))
    return [TrainTask(TaskId("b", 1, c), Download(adapters[c], extras), 1.0) for c in order]


def plain_training(model, parameters, inputs, labels, settings: Settings, generator) -> int:
    """What a person would write for one client."""
    optimizer = torch.optim.Adam(parameters, 1e-3, fused=True)
    model.train()
    steps = 0
    for _ in range(settings.training.epochs):
        for batch in torch.randperm(len(labels), generator=generator).split(64):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(inputs[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            steps += 1
    return steps


def bare_peft_loop(crew: Crew, tasks: list[TrainTask]) -> int:
    """A loop over clients on the same PEFT model; inputs are floats from the start."""
    model = MODELS.build(crew.blueprint.settings.model).model(SHAPE, CLASSES, SEED)
    shapes = find_targets(model, "all")
    bridge = Bridge(model, shapes, "all", dict.fromkeys(shapes, Scaling()))
    steps = 0
    for task in tasks:
        rows = crew.sites[task.id.client].train
        inputs, labels = rows.examples.batch(rows.numbers)
        bridge.load(task.download.adapter, task.download.extras)
        generator = torch.Generator().manual_seed(SEED)
        settings = crew.blueprint.settings
        steps += plain_training(
            bridge.model, bridge.trainable(), inputs, labels, settings, generator
        )
    return steps


class HandWritten(nn.Module):
    """The same network with the LoRA products written out."""

    def __init__(self, base: dict[str, Tensor], adapter: dict[str, Factors]) -> None:
        super().__init__()
        self.weights = [base[f"fc{i}.weight"] for i in (1, 2, 3)]
        self.biases = nn.ParameterList(base[f"fc{i}.bias"].clone() for i in (1, 2, 3))
        self.a = nn.ParameterList(adapter[f"fc{i}"].a.clone() for i in (1, 2, 3))
        self.b = nn.ParameterList(adapter[f"fc{i}"].b.clone() for i in (1, 2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Add each layer's low-rank product to its output."""
        x = x.flatten(1)
        for i in range(3):
            out = functional.linear(x, self.weights[i], self.biases[i])
            x = out + functional.linear(functional.linear(x, self.a[i]), self.b[i])
            if i < 2:
                x = functional.relu(x)
        return x


def bare_handwritten_loop(crew: Crew, tasks: list[TrainTask]) -> int:
    """A loop over clients with hand-written LoRA."""
    steps = 0
    for task in tasks:
        rows = crew.sites[task.id.client].train
        inputs, labels = rows.examples.batch(rows.numbers)
        model = HandWritten(dict(crew.blueprint.base), dict(task.download.adapter))
        generator = torch.Generator().manual_seed(SEED)
        steps += plain_training(
            model, list(model.parameters()), inputs, labels, crew.blueprint.settings, generator
        )
    return steps


def seconds(call, *arguments) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def run_engine(engine: LocalEngine, tasks: list[TrainTask]) -> None:
    """Let the engine carry out all tasks."""
    answers = [answer for _, answer in engine.run(tasks)]
    assert all(isinstance(answer, Update) for answer in answers), answers


def time_ratios(repeats: int) -> None:
    """Print start-up times and the ratios."""
    crew = make_crew(10)
    model = MODELS.build(crew.blueprint.settings.model).model(SHAPE, CLASSES, SEED)
    shapes = find_targets(model, "all")
    extras = find_extras(model, shapes, "all")
    tasks = make_tasks(crew, staircase_adapters(10, shapes), extras)
    engines = {}
    for workers in (1, 2):
        started = time.perf_counter()
        engines[workers] = LocalEngine(crew, workers)
        run_engine(engines[workers], tasks[-workers:])
        print(
            f"start-up, {workers} worker(s), first small task in: "
            f"{time.perf_counter() - started:.2f} s"
        )
    rows: dict[str, list[float]] = {}
    bare_peft_loop(crew, tasks)
    for _ in range(repeats):
        peft = seconds(bare_peft_loop, crew, tasks)
        hand = seconds(bare_handwritten_loop, crew, tasks)
        one = seconds(run_engine, engines[1], tasks)
        two = seconds(run_engine, engines[2], tasks)
        for name, value in {
            "bare PEFT loop, seconds": peft,
            "1 worker / bare PEFT loop": one / peft,
            "2 workers / bare PEFT loop": two / peft,
            "1 worker / hand-written loop": one / hand,
            "2 workers / hand-written loop": two / hand,
            "bare PEFT loop / hand-written loop": peft / hand,
        }.items():
            rows.setdefault(name, []).append(value)
    for engine in engines.values():
        engine.close()
    for name, values in rows.items():
        print(
            f"{name:<36} median {statistics.median(values):.3f}  "
            f"({min(values):.3f} to {max(values):.3f}, {repeats} repeats)"
        )


def peak_memory(clients: int) -> None:
    """Train every client once in this process and aggregate with RBLA; print the peak."""
    crew = make_crew(clients)
    model = MODELS.build(crew.blueprint.settings.model).model(SHAPE, CLASSES, SEED)
    shapes = find_targets(model, "all")
    extras = find_extras(model, shapes, "all")
    factors = {n: start_factors((s.d_in, s.d_out), 16, 0, n) for n, s in shapes.items()}
    engine = LocalEngine(crew)

    def tasks():
        for client in crew.sites:
            download = {n: f.take(prefix(16)) for n, f in factors.items()}
            yield TrainTask(TaskId("b", 1, client), Download(download, extras), 1.0)

    updates = (answer for _, answer in engine.run(tasks()) if isinstance(answer, Update))
    aggregate(rbla(), updates, ServerModel(factors, extras))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory, {clients:>5} clients, {ROWS} rows in all: {peak:.0f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with one_thread():
        if given.memory:
            peak_memory(given.memory)
        else:
            print(f"torch {torch.__version__}, one thread a process, seed {SEED}")
            time_ratios(given.repeats)
            for count in (10, 100, 1000):
                subprocess.run([sys.executable, __file__, "--memory", str(count)], check=True)
