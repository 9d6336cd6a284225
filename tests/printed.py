"""What a document shows, against what was printed.

Where training makes numbers vary between machines, only what training makes may: decimals
(accuracies, losses, scores), the round and the client that these choose, a model's answers.
Bytes, mean ranks and all whole numbers (ranks, examples, rounds) are exact everywhere.
"""

import os
import re
from functools import partial

NUMBER = re.compile(
    r"(?P<exact>mean rank +\d+\.\d+|\d+\.\d+ (?:B|[kMGT]B)\b)"
    r"|\d+\.\d+|(?<=in round )\d+|(?<=\(client )[^)]+|\[\d+(?:, \d+)*\]"
)


def shown_is_printed(shown: str, printed: str, where: str, *, vary: bool = False) -> None:
    """Assert that each line was printed, in this order; nothing between two but at ``...``."""
    vary = vary and "DOCS_EXACT" not in os.environ
    came = [plain(line, vary) for line in printed.splitlines()]
    place, gap = 0, False
    for line in [plain(line, vary) for line in shown.splitlines()]:
        if line == "...":
            gap = True
            continue
        found = [i for i in range(place, len(came)) if came[i] == line]
        assert found, f"{where}: not printed: {line!r}, in\n{printed}"
        assert gap or found[0] == place, f"{where}: lines left out before {line!r}\n{printed}"
        place, gap = found[0] + 1, False
    assert gap or place == len(came), f"{where}: there is more after the last line\n{printed}"


def as_printed(shown: str, printed: str) -> str:
    """Return what is shown with the numbers that were printed; lines of other words stay.

    A line is looked for as it is, then by its words and whole numbers, then by its words.
    """
    came, lines = printed.splitlines(), []
    for line in shown.splitlines():
        alike = (i for key in KEYS for i, new in enumerate(came) if key(new) == key(line))
        found = None if line == "..." else next(alike, None)
        if found is not None:
            line = line if plain(came[found]) == plain(line) else came[found].rstrip()
            came = came[found + 1 :]
        lines.append(f"{line}\n")
    return "".join(lines)


def plain(line: str, vary: bool = False) -> str:
    """Return a line with single blanks, and with # for each number that may vary."""
    line = re.sub(r"\s+", " ", line).strip()
    return NUMBER.sub(lambda found: found["exact"] or "#", line) if vary else line


def without(pattern: str, line: str) -> str:
    """Return a line without what fits the pattern, and without blanks."""
    return re.sub(rf"(?:{pattern})|\s+", "", line)


KEYS = (plain, partial(without, r"\d+\.\d+"), partial(without, r"[\d.]+"))
