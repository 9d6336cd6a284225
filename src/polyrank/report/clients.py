"""How different the clients are: label distributions and numbers of examples."""

from collections.abc import Sequence

from polyrank.head_inits.label_skew import distance_from_pool
from polyrank.record.lines import ProfileLine
from polyrank.report.charts import HEAT, bar, gap, names_axis, plain_label, sorted_by
from polyrank.report.parts import CsvData, Figure, Part, Section, Trace
from polyrank.report.reading import Run
from polyrank.report.words import number, percent, plural

ROW = 18  # CSS pixels a client takes in the heat map
SHORTEST, TALLEST = 260, 640  # CSS pixels of the heat map


def clients(run: Run) -> Section:
    """Build the section on the clients' data."""
    known = [profile for profile in run.profiles if sum(profile.label_counts)]
    if all(len(profile.label_counts) < 2 for profile in known):
        known = []  # texts for a language model may have no labels
    parts: list[Part] = [*_heat_map(run, known), *_sizes(run.profiles)]
    return Section("clients", "How different are the clients?", _lead(run.profiles, known), parts)


def label_names(run: Run, count: int) -> list[str]:
    """Return the names of ``count`` labels; numbers where the run has no names yet."""
    names = list(run.summary.label_names) if run.summary else []
    return names if len(names) == count else [str(index) for index in range(count)]


def _lead(profiles: Sequence[ProfileLine], known: Sequence[ProfileLine]) -> str:
    sizes = [profile.examples.train for profile in profiles if profile.examples]
    text = f"{plural(len(profiles), 'client')}"
    if sizes:
        low, high = number(min(sizes)), number(max(sizes))
        text += f" with {low if low == high else f'{low} to {high}'} training examples"
    if len(known) > 1:
        share = distance_from_pool([profile.label_counts for profile in known])
        text += (
            f". On average {percent(share)} of a client's examples would have to change"
            " their label for it to look like all clients together"
        )
    return f"{text}."


def _heat_map(run: Run, known: Sequence[ProfileLine]) -> list[Part]:
    if not known:
        return []
    labels = label_names(run, max(len(profile.label_counts) for profile in known))
    ordered = sorted(known, key=_dominant)
    names = [profile.client for profile in ordered]
    height = min(TALLEST, max(SHORTEST, 130 + ROW * len(names)))
    layout: Trace = {
        "xaxis": {"type": "category", "title": {"text": "label"}, "automargin": True},
        "yaxis": names_axis(names, sorted_by(len(names), "by main label"))
        | {"autorange": "reversed"},
        "hovermode": "closest",
    }
    return [
        Figure(
            "labels",
            "Labels by client",
            "Each row is a client; the darker or brighter a cell, the larger the share"
            " of the client's training examples that has this label.",
            [_cells(ordered, names, labels)],
            layout,
            CsvData(
                ["client", *labels],
                [[p.client, *_padded(p.label_counts, len(labels))] for p in ordered],
            ),
            wide=True,
            height=height,
        )
    ]


def _cells(ordered: Sequence[ProfileLine], names: Sequence[str], labels: Sequence[str]) -> Trace:
    counts = [_padded(profile.label_counts, len(labels)) for profile in ordered]
    return {
        "type": "heatmap",
        "x": [plain_label(label) for label in labels],
        "y": [plain_label(name) for name in names],
        "z": [[round(count / sum(row), 4) for count in row] for row in counts],
        "customdata": counts,
        "zmin": 0,
        "zmax": max(count / sum(row) for row in counts for count in row),
        "colorscale": HEAT,
        "colorbar": {"tickformat": ".0%", "title": {"text": "share"}},
        "hovertemplate": "client %{y}<br>label %{x}<br>%{customdata} examples, %{z:.1%}"
        "<extra></extra>",
    }


def _padded(counts: Sequence[int], length: int) -> list[int]:
    return [*counts, *[0] * (length - len(counts))]


def _dominant(profile: ProfileLine) -> tuple[int, float]:
    counts = profile.label_counts
    largest = max(counts)
    return (counts.index(largest), -largest / sum(counts))


def _sizes(profiles: Sequence[ProfileLine]) -> list[Part]:
    told = [profile for profile in profiles if profile.examples]
    sizes = {p.client: p.examples.model_dump() for p in told if p.examples}
    ordered = sorted(told, key=lambda p: sum(sizes[p.client].values()), reverse=True)
    used = dict.fromkeys(part for p in ordered for part, many in sizes[p.client].items() if many)
    if not used:
        return []
    names = [profile.client for profile in ordered]
    x = [plain_label(name) for name in names]
    columns = [[sizes[profile.client][part] for profile in ordered] for part in used]
    titles = [{"train": "Training", "test": "Test"}[part] for part in used]
    traces = [bar(title, x, columns[index], index) for index, title in enumerate(titles)]
    layout: Trace = {
        "barmode": "stack",
        "bargap": gap(len(names)),
        "xaxis": names_axis(names, sorted_by(len(names), "largest first")),
        "yaxis": {"title": {"text": "examples"}, "rangemode": "tozero"},
    }
    rows = [[name, *(column[i] for column in columns)] for i, name in enumerate(names)]
    caption = "How many examples each client trains on and is tested on, largest first."
    data = CsvData(["client", *used], rows)
    return [Figure("sizes", "Examples by client", caption, traces, layout, data, wide=True)]
