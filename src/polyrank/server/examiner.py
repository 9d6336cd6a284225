"""Count the answers of the server's model on rows that the server has itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from polyrank.causes import told
from polyrank.inputs.arrays import RowView
from polyrank.learning.blueprint import Blueprint
from polyrank.learning.counting import count_answers
from polyrank.peft_bridge import Bridge
from polyrank.protocol.messages import Counted, ExamineTask, Failure, ServerPart

ServerRows: TypeAlias = Mapping[ServerPart, RowView]


@dataclass(frozen=True)
class Examiner:
    """Performs the tasks of the server's own evaluation in this process.

    Args:
        blueprint: of the model.
        rows: the server's own, by part.
        bridge: to the model of this process.
    """

    blueprint: Blueprint
    rows: ServerRows
    bridge: Bridge

    def perform(self, task: ExamineTask) -> Counted | Failure:
        """Count the answers on one block of rows; an error becomes a ``Failure``."""
        try:
            came, rows = task.download, self.rows[task.part]
            change = came.base.totals if came.base else {}
            self.bridge.load(came.adapter, came.extras, change=change)
            counts, loss = count_answers(
                self.bridge.model,
                rows.examples,
                rows.numbers[task.start : task.stop],
                self.blueprint.classes,
                self.blueprint.device,
                self.blueprint.settings.training.autocast,
            )
        except Exception as error:
            return Failure(task.id, told(error))
        return Counted(task.id, counts, loss)
