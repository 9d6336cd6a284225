"""What happened in a round, as its lines in the run folder."""

from collections.abc import Mapping

from polyrank.record.lines import CutLoss, NotTaken, RoundLine, Traffic, UpdateLine
from polyrank.server.round_record import RoundRecord


def line_of_round(record: RoundRecord, probe: Mapping[str, int] | None) -> RoundLine:
    """Return a round's line of ``rounds.jsonl``; ``probe`` is what measuring for it cost."""
    losses = [(t.loss, t.examples) for t in record.turns if t.accepted and t.loss is not None]
    examples, turns, cost = sum(n for _, n in losses), record.all_turns, probe or {}
    return RoundLine(
        round=record.round,
        cohort=[t.client for t in record.turns],
        refused=[NotTaken(client=t.client, reason=t.refused) for t in turns if t.refused],
        failed=[NotTaken(client=t.client, reason=t.failed) for t in turns if t.failed],
        train_loss=sum(loss * n for loss, n in losses) / examples if examples else None,
        validation=record.validation,
        test=record.test,
        bytes=Traffic(
            up=sum(t.up for t in turns) + cost.get("up", 0),
            down=sum(t.down for t in turns) + cost.get("down", 0),
        ),
        steps=sum(t.steps for t in turns) + cost.get("steps", 0),
        probe_steps=cost.get("steps", 0),
        down=record.down,
        cuts=[CutLoss(slots=k, loss=loss) for k, loss in record.cuts.items()] or None,
    )


def lines_of_updates(record: RoundRecord) -> list[UpdateLine]:
    """Return a round's lines of ``clients.jsonl``, one for each accepted update."""
    return [
        UpdateLine(
            round=record.round,
            client=t.client,
            examples=t.examples,
            loss=t.loss,
            steps=t.steps,
            bytes=Traffic(up=t.up, down=t.down),
            times_median=t.times_median,
            ranks=t.ranks or None,
            shares=t.shares or None,
        )
        for t in record.turns
        if t.accepted
    ]
