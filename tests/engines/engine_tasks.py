"""What engines are asked to do in these tests, and parts of a run that break on purpose."""

import multiprocessing
import os
import signal
from dataclasses import dataclass

import torch

from polyrank.aggregators.aggregator import ServerModel
from polyrank.client.site import Site
from polyrank.disk.checkpoint import join_model
from polyrank.inputs.arrays import Examples, RowView
from polyrank.lora.factors import prefix, start_factors
from polyrank.models.mlp import mlp
from polyrank.protocol.messages import Download, TaskId, TrainTask, Update


def first_model(prepared) -> ServerModel:
    adapter = {
        n: start_factors((s.d_in, s.d_out), 6, 0, n) for n, s in prepared.server.shapes.items()
    }
    return ServerModel(adapter, prepared.server.extras)


def tasks(prepared, clients, rate=1.0):
    model = first_model(prepared)
    download = Download({m: f.take(prefix(3)) for m, f in model.adapter.items()}, model.extras)
    return [TrainTask(TaskId("small", 1, client), download, rate) for client in clients]


def bits(answer):
    """All that a training says, to compare; the order of names does not count."""
    if not isinstance(answer, Update):
        return answer
    tensors = join_model(answer.adapter, answer.extras)
    return answer.id, {n: t.tolist() for n, t in tensors.items()}, answer.loss, answer.steps


def not_in_workers(*, input_shape: tuple[int, ...], classes: int):
    """A model that can be built in the first process only."""
    if multiprocessing.parent_process():
        raise ValueError("no weights here")
    return mlp(input_shape=input_shape, classes=classes, hidden=(16,))


@dataclass(frozen=True)
class Deadly(Examples):
    """Kill the process that trains on row 0."""

    def batch(self, rows):
        if (rows == 0).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(rows)

    def share_memory(self):
        shared = super().share_memory()
        return Deadly(shared.inputs, shared.labels)


def sites(prepared, **rows):
    """Clients that have these training rows of the data set, and no test rows."""
    examples = prepared.server.rows["validation"].examples
    none = RowView(examples, torch.arange(0))
    return {client: Site(RowView(examples, own), none, 0) for client, own in rows.items()}
