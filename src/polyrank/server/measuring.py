"""Ask clients for profiles and measurements of their data, before ranks are chosen."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from polyrank.aggregators.aggregator import Aggregator
from polyrank.errors import TrainingError
from polyrank.lora.factors import prefix
from polyrank.protocol.engine import Engine
from polyrank.protocol.messages import (
    Download,
    Measured,
    ProbeTask,
    Profile,
    ProfileTask,
    TaskId,
    Wanted,
)
from polyrank.server.asking import asked
from polyrank.server.downloads import download_for
from polyrank.server.guards import probe_refusal, profile_refusal
from polyrank.server.round_record import Turn, instead
from polyrank.server.rules import Rules
from polyrank.server.state import ServerState


def ask_profiles(
    engine: Engine, run: str, classes: int, on_failure: Callable[[Turn], None]
) -> dict[str, Profile]:
    """Ask every client for its profile; one that gives none has an empty one.

    Args:
        engine: reaches the clients.
        run: name of the run.
        classes: number of labels.
        on_failure: told of each client that could not say, or whose words cannot be used.
    """
    tasks = (ProfileTask(TaskId(run, 0, client)) for client in engine.roster())
    told: dict[str, Profile] = {}
    for task, answer in asked(engine.run, tasks):
        client = task.id.client
        reason = (
            profile_refusal(answer, task.id, classes)
            if isinstance(answer, Profile)
            else instead(answer)
        )
        if reason is None and isinstance(answer, Profile):
            told[client] = answer
        else:
            told[client] = Profile(task.id)
            on_failure(Turn(client, 0, failed=f"told nothing of itself: {reason}"))
    return told


def by_size(profiles: Mapping[str, Profile]) -> list[str]:
    """Sort clients by number of examples, the largest first; all sums over clients use this order.

    Long trainings start first, so that no worker ends a round alone.
    """
    return sorted(profiles, key=lambda client: (-(profiles[client].examples or 0), client))


@dataclass
class Costs:
    """What measuring cost: bytes both ways, the most that one client sent, optimiser steps."""

    up: int = 0
    down: int = 0
    steps: int = 0
    most: int = 0

    def add(self, task: ProbeTask, answer: Measured) -> None:
        """Count one client's measuring."""
        self.up += answer.nbytes
        self.down += task.download.nbytes
        self.steps += answer.steps
        self.most = max(self.most, answer.nbytes)

    def __add__(self, other: "Costs") -> "Costs":
        return Costs(
            self.up + other.up,
            self.down + other.down,
            self.steps + other.steps,
            max(self.most, other.most),
        )


@dataclass(frozen=True)
class Measuring:
    """Lets clients measure themselves, starting from the global model.

    Args:
        rules: of the run.
        aggregator: says which factors clients have already.
        engine: reaches the clients.
        roster: the clients, in the order of all sums.
        on_turn: told of each client that has answered: its name, how many have, of how many.
        on_failure: told of each client that could not, or whose numbers cannot be used.
    """

    rules: Rules
    aggregator: Aggregator
    engine: Engine
    roster: Sequence[str]
    on_turn: Callable[[str, int, int], None] = lambda client, done, total: None
    on_failure: Callable[[Turn], None] = lambda turn: None
    costs: Costs = field(default_factory=Costs)

    def measured(
        self, state: ServerState, ranks: Mapping[str, int], wanted: Wanted
    ) -> Iterator[Measured]:
        """Yield what each client measured; ``costs`` counts it.

        Args:
            state: whose model is the global one.
            ranks: module -> rank at which it is measured.
            wanted: what to measure.

        Raises:
            TrainingError: no client could.
        """
        rate = self.rules.rate(state.round + 1)
        head = state.model.extras.get(f"{wanted.head}.weight")

        def tasks() -> Iterator[ProbeTask]:
            for client in self.roster:
                id = TaskId(self.rules.run, state.round, client)
                download = self._download(state, ranks, client, wanted)
                yield ProbeTask(id, download, rate, wanted, state.trained.get(client))

        good, reason = 0, None
        for done, (task, answer) in enumerate(asked(self.engine.run, tasks()), start=1):
            client = task.id.client
            self.on_turn(client, done, len(self.roster))
            if isinstance(answer, Measured):
                reason = probe_refusal(answer, task, ranks, head)
                if reason is None:
                    good += 1
                    self.costs.add(task, answer)
                    yield answer
                    continue
            else:
                reason = instead(answer)
            down = task.download.nbytes
            self.on_failure(Turn(client, down, failed=f"could not be measured: {reason}"))
        if not good:
            raise TrainingError(f"no client could be measured; the last one: {reason}")

    def _download(
        self, state: ServerState, ranks: Mapping[str, int], client: str, wanted: Wanted
    ) -> Download:
        """Return what a client is sent to measure itself: the first slots, or nothing."""
        if not wanted.needs_model:
            return Download({}, {})
        slots = {module: prefix(r) for module, r in ranks.items()}
        rule = replace(self.aggregator.local(state.round + 1), view="own")
        small = self.rules.compression
        return download_for(state, client, slots, rule, current=False, compression=small)
