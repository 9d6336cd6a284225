"""What one process needs to stand in for clients, and for the server's own evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from polyrank.client.site import Site
from polyrank.client.trainer import Trainer
from polyrank.inputs.arrays import ExampleSet, RowView
from polyrank.learning.blueprint import Blueprint
from polyrank.protocol.messages import Answer, ExamineTask, Task
from polyrank.server.examiner import Examiner, ServerRows


@dataclass(frozen=True)
class Crew:
    """Both sides of a federation that is simulated on one machine.

    Args:
        blueprint: of the model.
        sites: client -> what it has.
        store: folder for what clients keep, or None to keep nothing.
        rows: the server's own rows.
    """

    blueprint: Blueprint
    sites: Mapping[str, Site]
    store: Path | None
    rows: ServerRows = field(default_factory=dict)

    def share_memory(self) -> "Crew":
        """Move all tensors to memory that other processes can map; each example set once."""
        shared: dict[int, ExampleSet] = {}

        def moved(rows: RowView) -> RowView:
            known = id(rows.examples)
            if known not in shared:
                shared[known] = rows.examples.share_memory()
            return RowView(shared[known], rows.numbers.share_memory_())

        sites = {
            client: replace(site, train=moved(site.train), test=moved(site.test))
            for client, site in self.sites.items()
        }
        rows: ServerRows = {part: moved(rows) for part, rows in self.rows.items()}
        return replace(self, blueprint=self.blueprint.share_memory(), sites=sites, rows=rows)

    def performer(self) -> "Performer":
        """Build the model of this process; both sides use the one."""
        bridge = self.blueprint.build()
        return Performer(
            Trainer(self.blueprint, self.sites, self.store, bridge),
            Examiner(self.blueprint, self.rows, bridge),
        )


@dataclass(frozen=True)
class Performer:
    """Performs tasks in this process, each on its own side."""

    trainer: Trainer
    examiner: Examiner

    def perform(self, task: Task | ExamineTask) -> Answer:
        """Carry out one task; an error in it becomes a ``Failure`` with its reason."""
        if isinstance(task, ExamineTask):
            return self.examiner.perform(task)
        return self.trainer.perform(task)
