"""Draw README's figure and table, and those of the documentation, from the files in ``results``.

    python scripts/figures.py [--check]

``--check`` changes nothing and fails if a table is not what the files give.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import arms_table
import beside_table
import claims
import claims_table
import compression_table
import criteria_table
import drawings
import fedara_table
import federation_table
import known_need_table
import language_table
import need_table
import planned_table
import scaling_table
import text_table
import verdict_table

Result = dict[str, Any]
ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
START, END = "<!-- results: made by scripts/figures.py -->", "<!-- end of results -->"
VERDICTS = "<!-- verdicts: made by scripts/figures.py -->"
VERDICTS_END = "<!-- end of verdicts -->"
# page -> the key by which a result is known, and what writes its table or tables, in order
PAGES: Mapping[str, Sequence[tuple[str, Callable[[Result], str | list[str]]]]] = {
    "results.md": (
        ("texts", text_table.controls),
        ("arms", arms_table.by_arm),
        ("grid", arms_table.by_federation),
        ("perplexity", language_table.by_size),
    ),
    "how-to/plan.md": (("planned", planned_table.by_federation),),
    "how-to/deploy.md": (
        ("engines", federation_table.costs),
        ("killed", federation_table.died),
        ("methods", federation_table.same_bits),
    ),
    "explanation/autorank.md": (("criteria", criteria_table.by_criterion),),
    "explanation/beside-others.md": (("beside", beside_table.by_way),),
    "explanation/compression.md": (("compression", compression_table.by_arm),),
    "explanation/fedara.md": (("fedara", fedara_table.tables), ("pruned", fedara_table.pruned)),
    "explanation/language-models.md": (("perplexity", language_table.by_client),),
    "explanation/need.md": (("need", need_table.tables),),
    "explanation/products-and-copies.md": (
        ("one_rank", partial(arms_table.by_federation, key="one_rank")),
    ),
    "explanation/rbla.md": (("scaling", scaling_table.by_order),),
    "explanation/text-classifiers.md": (("texts", text_table.steps),),
    "explanation/when-rank-matters.md": (("known_need", known_need_table.tables),),
}


def tables(page: str, given: Mapping[str, Result]) -> list[str]:
    """Return the tables of a page."""
    found = [claims_page(given)] if page == "results.md" else []
    for key, make in PAGES[page]:
        for result in (r for r in given.values() if key in r):
            made = make(result)
            found += [made] if isinstance(made, str) else made
    return found


def claims_page(given: Mapping[str, Result]) -> str:
    """Return what the results begin with: all claims, and what each federation says of them."""
    return "\n\n".join(
        (
            claims_table.table(given),
            "![What each federation says of each claim](figures/claims.svg)",
            "## Each federation",
            claims_table.by_place(given),
            "## Accuracy by round",
            "![Test accuracy by round](figures/results.svg)",
            "## Tables",
        )
    )


def with_tables(page: str, tables: list[str]) -> str:
    """Return a page with its results replaced."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{chr(10).join(t + chr(10) for t in tables)}{END}{after}"


def with_verdicts(page: str, given: Mapping[str, Result]) -> str:
    """Return README with its table replaced."""
    before, _, rest = page.partition(VERDICTS)
    _, _, after = rest.partition(VERDICTS_END)
    return f"{before}{VERDICTS}\n{verdict_table.verdicts(given)}\n{VERDICTS_END}{after}"


def first_screen(given: Mapping[str, Result]) -> list[Result]:
    """Return what README shows: where ranks from data help, and where they hurt."""
    helps, hurts = (given[f"digits_{name}"] for name in ("staircase", "label_skew"))
    arms = {name: arm for name, arm in helps["arms"].items() if name.endswith("default")}
    return [{**helps, "arms": arms}, hurts]


def draw(given: Mapping[str, Result]) -> None:
    """Draw all figures."""
    figures = DOCS / "figures"
    drawings.claims(claims.tried(given), figures / "claims.svg")
    of_arms = [result for result in given.values() if "arms" in result]
    drawings.by_round(of_arms, figures / "results.svg", columns=1)
    drawings.by_round(first_screen(given), figures / "first.svg")
    drawings.fedara(given["fedara"], figures / "fedara.svg")
    drawings.need(given["need"], figures / "need.svg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check, every = parser.parse_args().check, claims_table.read(ROOT / "results")
    made = {DOCS / page: partial(with_tables, tables=tables(page, every)) for page in PAGES}
    verdicts = partial(with_verdicts, given=every)
    for path, filled in {ROOT / "README.md": verdicts, **made}.items():
        now = path.read_text(encoding="utf-8")
        wanted = filled(now)
        if not check:
            path.write_text(wanted, encoding="utf-8")
        elif now != wanted:
            sys.exit(f"{path.relative_to(ROOT)}: run python scripts/figures.py")
    if not check:
        draw(every)
