"""Clients simulated on this machine: in this process, or in a pool of worker processes.

Every worker has one thread, and so should the caller (``polyrank.threads``): the sums
inside a training, and with them every bit of the result, are then the same whatever the
number of workers.
"""

from collections.abc import Iterable, Iterator, Mapping

from polyrank.client.trainer import Trainer, Workload
from polyrank.disk.checkpoint import ClientStore
from polyrank.engines.pool import Pool
from polyrank.protocol.messages import Answer, Task


class LocalEngine:
    """Clients simulated on this machine.

    Args:
        workload: data, model and settings of all clients.
        workers: 1 trains in this process; more start that many processes of one thread.
    """

    def __init__(self, workload: Workload, workers: int = 1) -> None:
        self._clients = {c: len(rows) for c, (rows, _) in workload.clients.items()}
        self._store = ClientStore(workload.store) if workload.store else None
        self.pool = Pool(workload.share_memory(), workers) if workers > 1 else None
        self._trainer = None if self.pool else Trainer(workload)

    def roster(self) -> Mapping[str, int]:
        """Return the clients, with their number of training examples."""
        return self._clients

    def run(self, tasks: Iterable[Task]) -> Iterator[Answer]:
        """Yield one answer for each task, in the order of the tasks, read as they are needed."""
        if self._trainer:
            yield from map(self._trainer.perform, tasks)
        elif self.pool:
            yield from self.pool.run(tasks)

    def commit(self, *trained: Mapping[str, int]) -> None:
        """Keep, of what clients store, only what the states that are kept need."""
        if self._store:
            self._store.keep_only(*trained)

    def close(self) -> None:
        """End the workers."""
        if self.pool:
            self.pool.close()
