"""Did it work: the headline numbers, the curves by round, and every client's own number."""

from polyrank.report.fairness import fairness
from polyrank.report.headline import Headline, headline
from polyrank.report.outcome_figures import by_client, curves, start_of
from polyrank.report.parts import Note, Part, Section, Tile
from polyrank.report.reading import Run
from polyrank.report.words import number, percent, plural, rank_range, size
from polyrank.report.yardstick import PERPLEXITY, Yardstick, measured


def outcome(run: Run) -> Section:
    """Build the section that says whether training worked."""
    numbers = headline(run)
    parts: list[Part] = []
    if not run.finished:
        done = plural(numbers.rounds, "round")
        text = f"This run is unfinished. The page shows the {done} recorded so far."
        parts.append(Note(text, warning=True))
    parts += [Note(text, warning=True) for text in run.notes]
    parts += [_tiles(run, numbers), *curves(run), *by_client(run.finals, numbers.judged)]
    parts += fairness(run, numbers.judged)
    lead = _lead_of_own(numbers) if run.only_personal else _lead(numbers, start_of(run))
    return Section("outcome", "Did it work?", lead, parts)


def _lead_of_own(numbers: Headline) -> str:
    judged = numbers.judged
    return (
        f"The clients' own models reached {judged.show(numbers.personal)} {judged.metric} on their "
        "own test rows, mean over clients. The global model is not judged."
    )


def _lead(numbers: Headline, began: str) -> str:
    judged, final, before = numbers.judged, numbers.final, numbers.before
    if final is None:
        return f"No {judged.metric} has been measured yet."
    rose, rise = ("fell", "fall") if judged.falls else ("rose", "rise")
    start = f"{rose} from {judged.show(before)} {began} to"
    if before is None:
        start = "reached"
    elif final == before or (final > before) == judged.falls:
        start = f"did not {rise}: from {judged.show(before)} {began} it went to"
    text = f"{judged.title} {start} {judged.show(final)} in {plural(numbers.rounds, 'round')}."
    if numbers.worst is not None:
        worst = judged.show(numbers.worst)
        text += f" The worst served, client {numbers.worst_client}, gets {worst}"
        if numbers.worst_before is not None:
            text += f" ({judged.show(numbers.worst_before)} before training)"
        text += "."
    return text


def _tiles(run: Run, numbers: Headline) -> list[Tile]:
    judged = numbers.judged
    tiles = [] if run.only_personal else _of_the_global_model(run, numbers)
    if numbers.personal is not None:
        how = "by the clients' mean loss" if judged is PERPLEXITY else "mean over clients"
        tiles.append(Tile("Personal adapters", judged.show(numbers.personal), how))
    if run.summary and run.summary.rounds_to_target is not None:
        tiles.append(Tile("Target reached", f"round {run.summary.rounds_to_target}"))
    return tiles + _price(run, numbers)


def _price(run: Run, numbers: Headline) -> list[Tile]:
    ranks = [rank for of in run.came_to.ranks.values() for rank in of.values()]
    tiles = []
    if ranks and numbers.mean_rank is not None:
        mean = f"mean {number(numbers.mean_rank)}, over clients and modules"
        tiles.append(Tile("Ranks", rank_range(ranks), mean))
    sent = numbers.bytes_up + numbers.bytes_down
    if sent:
        ways = f"{size(numbers.bytes_up)} up, {size(numbers.bytes_down)} down"
        tiles.append(Tile("Sent", size(sent), ways))
    return tiles


def _of_the_global_model(run: Run, numbers: Headline) -> list[Tile]:
    judged = numbers.judged
    tiles = [Tile(f"Final {judged.metric}", judged.show(numbers.final), _best(run, judged))]
    if judged is PERPLEXITY:
        tiles.append(Tile("Loss", number(numbers.loss), "nats a token"))
    else:
        balanced = percent(numbers.balanced_accuracy)
        tiles += [
            Tile("Macro-F1", percent(numbers.macro_f1), "every label counts the same"),
            Tile("Balanced accuracy", balanced, "mean recall of the labels"),
        ]
    if numbers.worst is not None:
        worst = judged.show(numbers.worst)
        tiles.append(Tile("Worst client", worst, f"client {numbers.worst_client}"))
    return tiles


def _best(run: Run, judged: Yardstick) -> str:
    best = run.came_to.best
    value = measured(best).get(judged.metric) if best else None
    if best is None or value is None:
        return ""
    return f"best {judged.show(value)} in round {best.round}"
