"""The same federated LoRA by a bare loop, by PolyRank and by Flower's simulation: seconds in all.

    pip install 'flwr[simulation]'
    python benchmarks/beside_flower.py --results FILE.json [--repeats N]

The digits of scikit-learn at ten clients, ten rounds of two epochs in batches of 16; an MLP
200-200 in PEFT, LoRA of rank 8 on all its layers, Adam 0.001, plain averaging. Each of the three
is a process of one thread that trains one client at a time, and is timed from its start to its
end. Overhead is what it takes beyond the bare loop of the same repeat, which has no messages, no
checks, no records and no evaluation; PolyRank's has them, and its report. Load says how busy the
machine was before.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
from plain_lora import BATCH, CLIENTS, EPOCHS, RANK, RATE, made, train

ROUNDS = 10
TITLE = "The same federated LoRA by a bare loop, by PolyRank and by Flower's simulation"
WAYS = ("bare", "polyrank", "flower")


def bare() -> None:
    """Average by hand."""
    state = {n: p.detach().clone() for n, p in made()[1].items()}
    for _ in range(ROUNDS):
        came = [train(client, state) for client in range(CLIENTS)]
        total = sum(count for _, count in came)
        state = {n: sum(s[n] * (count / total) for s, count in came) for n in state}


def polyrank() -> None:
    """Run the same as an experiment."""
    import polyrank

    settings = {
        "rounds": ROUNDS,
        "recipe": "paper",
        "aggregator": "fedavg",
        "allocator": {"kind": "uniform", "rank": RANK},
        "ranks": {"r_min": 1, "r_max": RANK},
        "workers": 1,
        "data": "digits",
        "partition": {"kind": "iid", "clients": CLIENTS},
        "model": {"kind": "mlp", "hidden": [200, 200]},
        "training": {
            "optimizer": "adam",
            "learning_rate": RATE,
            "epochs": EPOCHS,
            "batch_size": BATCH,
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        polyrank.run(settings, out=Path(folder) / "run")


def flower() -> None:
    """Simulate the same in Flower, one client at a time."""
    from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    clients, server = ClientApp(), ServerApp()

    @clients.train()
    def fit(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        state = message.content["arrays"].to_torch_state_dict()
        came, count = train(int(context.node_config["partition-id"]), state)
        metrics = MetricRecord({"num-examples": count})
        content = RecordDict({"arrays": ArrayRecord(came), "metrics": metrics})
        return Message(content=content, reply_to=message)

    @server.main()
    def rounds(grid: Grid, context: Context) -> None:
        state = ArrayRecord({n: p.detach().clone() for n, p in made()[1].items()})
        strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=CLIENTS)
        strategy.start(grid, state, num_rounds=ROUNDS)

    each = {"client_resources": {"num_cpus": os.cpu_count() or 1, "num_gpus": 0.0}}
    run_simulation(server, clients, CLIENTS, backend_config=each)


def main() -> None:
    """Time the three, one after the other, and write seconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("way", nargs="?", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        torch.set_num_threads(1)
        {"bare": bare, "polyrank": polyrank, "flower": flower}[given.way]()
        return
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    load = os.getloadavg()[0]
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}  # Flower's workers
    for _ in range(given.repeats):
        for way in WAYS:
            started = time.perf_counter()
            words = [sys.executable, __file__, way]
            subprocess.run(words, check=True, capture_output=True, env=env)
            found[way].append(round(time.perf_counter() - started, 2))
        print({way: values[-1] for way, values in found.items()}, flush=True)
    over = {w: [a - b for a, b in zip(found[w], found["bare"], strict=True)] for w in WAYS[1:]}
    share = [a / b for a, b in zip(over["polyrank"], over["flower"], strict=True)]
    text = ", ".join(f"{way} {statistics.median(of):.2f} s" for way, of in over.items())
    print(f"overhead: {text}; the share {statistics.median(share):.3f}")
    if given.results:
        told = {"seconds": found, "flower": version("flwr"), "load_before": round(load, 1)}
        result = {"title": TITLE, "beside": told}
        given.results.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
