"""Tables of what a federation of real processes costs, and of what becomes of it when parts die."""

from collections.abc import Mapping
from typing import Any

from markdown_table import markdown_table

DIED = {
    "trainer": "a client's trainer is killed",
    "host": "a client's host is killed, and started again",
    "server": "the server is killed, started again, and the run resumed",
    "admin": "the admin is killed, and the run resumed",
    "ctrl-c": "Ctrl-C at the admin, and the run resumed",
    "cut": "a client's connection is cut for ten seconds",
    "here": "Ctrl-C at a federation on one machine",
    "end": "all hosts are ended",
}


def costs(result: Mapping[str, Any]) -> str:
    """Write what a round costs beside the training, by the size of an update."""
    rows = []
    for name, of in result["engines"].items():
        memory = of["server's job MB by round"]
        rows.append(
            (
                name,
                f"{of['overhead a round, median s']:.2f} ({of['overhead a round, most s']:.2f})",
                f"{of['wire over payload']:.3f}",
                f"{of['CPU s a round without training']:.2f}",
                f"{of['start of all hosts s']:.0f}, {of['job to first update s']:.0f}",
                f"{memory[min(4, len(memory) - 1)]:,}, {memory[-1]:,}",
                f"{of['load'][0]:.1f}",
            )
        )
    head = (
        "an update",
        "beside training, s a round (most)",
        "wire over payload",
        "CPU s a round",
        "all hosts there, s; then first update, s",
        "server's job, MB, fifth and last round",
        "load",
    )
    return markdown_table(head, rows)


def died(result: Mapping[str, Any]) -> str:
    """Write what became of each case."""
    rows = [
        (DIED[of["case"]], of["said"] if of["good"] else f"**not as promised**: {of['said']}")
        for of in result["killed"]
    ]
    return markdown_table(("what died", "what became of the run"), rows)


def same_bits(result: Mapping[str, Any]) -> str:
    """Write which runs end with the bits of the simulation."""
    found = result["methods"]
    same = [name for name, of in found.items() if not of["differs"]]
    other = [f"`{name}`: {of['differs']}" for name, of in found.items() if of["differs"]]
    told = f"The same bits as the simulation: {', '.join(f'`{name}`' for name in same)}."
    return "\n\n".join([told, *([f"Others: {'; '.join(other)}."] if other else [])])
