"""What papers claim, and what we do, beside what was measured.

    python scripts/claims_table.py [FOLDER]

FOLDER has result files, all or some, of two seeds at least; without it, ``results``.
"""

import argparse
import json
import textwrap
from pathlib import Path

from claims import tried
from markdown_table import markdown_table
from verdict_table import Results

RESULTS = Path(__file__).parent.parent / "results"
HEAD = ("claim", "here", "better by, in points", "yes, open, no")
PLACE_HEAD = ("claim", "federation", "seeds", "better by, in points", "does it hold there?")


def table(results: Results) -> str:
    """Write all claims that the results have something to say about."""
    told = (
        "By how much what is claimed is better: the smallest and the largest mean over the "
        "federations in which it was tried, and in how many of them seeds say yes, do not tell, or "
        "say no."
    )
    rows = [claim.row for claim in tried(results)]
    return f"{markdown_table(HEAD, rows)}\n\n{textwrap.fill(told, 120)}"


def by_place(results: Results) -> str:
    """Write a row for each federation in which a claim was tried."""
    told = (
        "Mean over seeds of the difference between runs of one seed, with Student's 90 % interval; "
        "open where the interval does not say. In perplexity, where less is better, the sign is "
        "turned."
    )
    rows = [row for claim in tried(results) for row in claim.place_rows]
    return f"{markdown_table(PLACE_HEAD, rows)}\n\n{textwrap.fill(told, 120)}"


def read(folder: Path) -> Results:
    """Read all result files of a folder, in the order of their names."""
    paths = sorted(folder.glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=RESULTS)
    print(table(read(parser.parse_args().folder)))
