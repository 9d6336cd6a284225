"""What fixed ranks reach that ``polyrank plan`` reads off a run by need, beside that run.

    pip install 'polyrank[demo]'
    python benchmarks/planned.py --out RUNS --results FILE.json [--data FOLDER] [--seeds 3]
        [--tune-seeds 1] [--jobs N] [--only TEXT]

The federations of ``need.py`` with images, ten clients and concentration 0.5. With each seed a run
by need, an error of 0.2, says what a next one needs; then come one rank for all and a rank for each
client, as planned from it, with the same seed. Every arm has the learning rate, of three, that is
best for it on validation rows. Without FOLDER the digits alone. Finished runs are kept and not
repeated. One thread a process.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

import compared
import need

from polyrank.planning.next_ranks import next_ranks

NEED = "need, error 0.2"


def told(run: Path) -> dict[str, Any]:
    """Return what the result file keeps of a run."""
    kept = need.told(run)
    sent = kept["up"] + kept["down"]
    return {"accuracy": kept["accuracy"], "bytes": sent, "learning_rate": kept["learning_rate"]}


def at(place: need.Place, given: Any) -> dict[str, dict[str, Any]]:
    """Run a federation by need, then with the ranks that were planned from it; seed -> arms."""
    choice = {"jobs": given.jobs, "tune": given.tune_seeds}
    first = compared.folders(
        place.settings,
        {NEED: need.ARMS[NEED]},
        seeds=given.seeds,
        out=given.out / place.name / "need",
        **choice,
    )
    found = {}
    for seed, run in first[NEED].items():
        planned = next_ranks(run)
        arms = {name: tomllib.loads(text) for name, text in planned.settings().items()}
        out = given.out / place.name / seed
        then = compared.folders(place.settings, arms, seeds=[int(seed)], out=out, **choice)
        found[seed] = {
            "rank": planned.rank,
            "ranks": planned.ranks,
            "need": told(run),
            **{arm: told(of[seed]) for arm, of in then.items()},
        }
    return found


def main() -> None:
    """Run what is missing and write one JSON."""
    parser = compared.arguments(__doc__, tune=1, data=False)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for place in need.places(given.data, given.out):
        same = place.data in need.GRID and (place.dirichlet, place.clients) == (0.5, 10)
        if same and given.only in place.name:
            found[place.data] = at(place, given)
            result = {"title": "Fixed ranks, planned from a run by need", "planned": found}
            given.results.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
