"""Did it work: the headline numbers, accuracy and loss by round, accuracy by client."""

from polyrank.report.headline import Headline, headline
from polyrank.report.outcome_figures import accuracy_by_client, curves
from polyrank.report.parts import Note, Part, Section, Tile
from polyrank.report.records import Run
from polyrank.report.words import percent, plural


def outcome(run: Run) -> Section:
    """Build the section that says whether training worked."""
    numbers = headline(run)
    parts: list[Part] = []
    if not run.finished:
        done = plural(numbers.rounds, "round")
        text = f"This run is unfinished. The page shows the {done} recorded so far."
        parts.append(Note(text, warning=True))
    parts += [Note(text, warning=True) for text in run.notes]
    parts += [_tiles(run, numbers), *curves(run), *accuracy_by_client(run.finals)]
    return Section("outcome", "Did it work?", _lead(numbers), parts)


def _lead(numbers: Headline) -> str:
    if numbers.accuracy is None:
        return "No accuracy has been measured yet."
    start = f"rose from {percent(numbers.before)} before training to"
    if numbers.before is None:
        start = "reached"
    elif numbers.accuracy <= numbers.before:
        start = f"did not rise: from {percent(numbers.before)} before training it went to"
    text = f"Accuracy {start} {percent(numbers.accuracy)} in {plural(numbers.rounds, 'round')}."
    if numbers.worst is not None:
        text += f" The worst served, client {numbers.worst_client}, gets {percent(numbers.worst)}."
    return text


def _tiles(run: Run, numbers: Headline) -> list[Tile]:
    tiles = [
        Tile("Final accuracy", percent(numbers.accuracy), _best(run)),
        Tile("Macro-F1", percent(numbers.macro_f1), "every label counts the same"),
        Tile("Balanced accuracy", percent(numbers.balanced_accuracy), "mean recall of the labels"),
    ]
    if numbers.worst is not None:
        tiles.append(Tile("Worst client", percent(numbers.worst), f"client {numbers.worst_client}"))
    if numbers.personal is not None:
        tiles.append(Tile("Personal adapters", percent(numbers.personal), "mean over clients"))
    if run.summary and run.summary.rounds_to_target is not None:
        tiles.append(Tile("Target reached", f"round {run.summary.rounds_to_target}"))
    return tiles


def _best(run: Run) -> str:
    best = run.summary.accuracy if run.summary else {}
    if best.get("best") is None:
        return ""
    when = "" if best.get("best_round") is None else f" in round {best['best_round']:g}"
    return f"best {percent(best['best'])}{when}"
