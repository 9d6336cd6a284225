"""A loop without a server, from the parts of the one with a server: nothing of them is copied.

Clients on a ring train from their own model, and each averages its neighbours' updates with its own
(decentralised federated averaging: Lian et al., 2017, https://arxiv.org/abs/1705.09056).
"""

import pytest
import torch

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.engines.local import LocalEngine
from polyrank.lora.factors import prefix
from polyrank.protocol.messages import TaskId, TrainTask
from polyrank.runs.preparation import first_adapter, prepare
from polyrank.server.asking import asked
from polyrank.server.downloads import download_for, expected_back
from polyrank.server.intake import Intake
from polyrank.server.rules import rules_of
from polyrank.server.state import ServerState
from polyrank.threads import one_thread
from tests.small import small


def gossip(engine, rules, aggregator, states, neighbours, sizes):
    """One round: every client trains its own model, and mixes what its neighbours send."""
    number = next(iter(states.values())).round + 1
    rule = aggregator.local(number)

    def tasks():
        for client, state in states.items():
            download = download_for(state, client, state.plan[client], rule, current=False)
            yield TrainTask(TaskId(rules.run, number, client), download, rules.rate(number))

    came = {task.id.client: (task, answer) for task, answer in asked(engine.run, tasks())}
    after = {}
    for client, state in states.items():
        intake = Intake(aggregator.fold, state.model, rules.norm_bound)
        for other in neighbours[client]:
            expected = expected_back(state.model.adapter, state.plan[other], rule)
            intake.take(*came[other], expected, sizes[other])
        taken = intake.finish()
        assert len(taken.accepted) == len(neighbours[client])
        after[client] = ServerState(taken.aggregated(), state.plan, number)
    return after


def apart(states):
    """How far the clients' products are from their mean, as a share of it."""
    products = [
        torch.cat([(f.b @ f.a).flatten() for f in s.model.adapter.values()])
        for s in states.values()
    ]
    mean = torch.stack(products).mean(0)
    return max(float((p - mean).norm() / mean.norm()) for p in products)


@pytest.mark.parametrize("mixing", [True, False], ids=["ring", "alone"])
def test_clients_on_a_ring_come_together_and_clients_alone_do_not(tmp_path, mixing):
    settings = small(partition={"kind": "iid", "clients": 4})
    ready = prepare(settings, None)
    clients = list(ready.sites)
    model = ServerModel(first_adapter(settings, ready.server.shapes), ready.server.extras)
    plan = {client: {m: prefix(4) for m in model.adapter} for client in clients}
    states = {client: ServerState(model, plan) for client in clients}
    ring = {c: [clients[k - 1], c, clients[(k + 1) % 4]] for k, c in enumerate(clients)}
    sizes = {client: len(site.train) for client, site in ready.sites.items()}
    neighbours = ring if mixing else {client: [client] for client in clients}
    engine, rules = LocalEngine(ready.crew), rules_of(settings)
    with one_thread():
        for _ in range(5):
            states = gossip(engine, rules, AGGREGATORS.build("rbla"), states, neighbours, sizes)
    assert (apart(states) < 0.2) == mixing
