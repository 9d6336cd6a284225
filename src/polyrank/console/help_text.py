"""What stands below the help of each command: examples as typed, and the page about it."""

from collections.abc import Mapping, Sequence

DIGITS = "polyrank run examples/digits.toml"
EXAMPLES: Mapping[str, tuple[str, Sequence[str]]] = {  # command -> page, examples
    "": ("tutorial.md", (DIGITS,)),
    "run": (
        "tutorial.md",
        (
            DIGITS,
            f"{DIGITS} --set rounds=3 --out runs/short",
            f"{DIGITS} --federation local:3",
            "polyrank run --resume runs/digits",
        ),
    ),
    "compare": (
        "how-to/compare.md",
        (
            "polyrank compare examples/digits.toml --vary aggregator=rbla,flexlora",
            "polyrank compare examples/digits.toml --vary ranks.budget=4,8 --no-tune",
        ),
    ),
    "plan": (
        "how-to/plan.md",
        (
            "polyrank plan examples/clients.csv --r-min 4 --r-max 64 --budget 24",
            "polyrank plan runs/digits",
        ),
    ),
    "partition": (
        "how-to/data.md",
        (
            "polyrank partition examples/digits.toml",
            "polyrank partition examples/digits.toml --set partition=iid",
        ),
    ),
    "export": (
        "how-to/export.md",
        (
            "polyrank export runs/digits --global --out adapter",
            "polyrank export runs/digits --client 3 --merge --out merged",
        ),
    ),
    "eval": (
        "how-to/export.md",
        ("polyrank eval runs/digits", "polyrank eval runs/digits --data npz:new.npz --client 3"),
    ),
    "report": (
        "how-to/controls.md",
        ("polyrank report runs/digits runs/digits-uniform --out both.html",),
    ),
    "watch": ("tutorial.md", ("polyrank watch runs/digits --open",)),
    "provision": ("how-to/deploy.md", ("polyrank provision sites.toml --out kits",)),
    "serve": ("how-to/deploy.md", ("polyrank serve kits/server --runs runs",)),
    "join": (
        "how-to/deploy.md",
        ("polyrank join kits/clinic-a --data rows.csv --cap 16 --no-head-sums",),
    ),
    "sites": ("how-to/deploy.md", ("polyrank sites kits/admin",)),
    "list": ("reference/methods.md", ("polyrank list",)),
}


def below(command: str) -> str:
    """Return what stands below the help of a command; of the whole program for ``""``."""
    page, examples = EXAMPLES[command]
    lines = ["Examples:", *(f"  $ {example}" for example in examples)]
    return "\n\n".join([*lines, f"Documentation: docs/{page}; make docs builds the site."])
