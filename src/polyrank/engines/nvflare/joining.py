"""What a client's owner is told before anything connects: its data, and what will leave them."""

from dataclasses import replace

from polyrank import datasets
from polyrank.client.agreement import Agreement
from polyrank.formats import versions


def checked(agreement: Agreement) -> tuple[Agreement, list[str]]:
    """Check that the data can be read; return how many rows, and in lines what will leave.

    What their columns mean a run says when it comes; data that do not fit it are refused then.

    Raises:
        DataError: they cannot.
    """
    assert agreement.data is not None
    rows, columns = datasets.glance(agreement.data)
    named = f" of {', '.join(columns)}" if columns else ""
    wrote = ", ".join(f"{name} {number}" for name, number in versions().items())
    measured = "any" if agreement.criteria is None else ", ".join(agreement.criteria) or "none"
    sums = "sums of features for a starting head" if agreement.head_sums else "no sums of features"
    lines = [
        f"{agreement.data}: {rows} rows{named}; {wrote}",
        f"leaves this host, if a run asks: {' and '.join(agreement.tells) or 'no counts of rows'}, "
        f"criteria ({measured}), {sums}, trained factors and extras, counts of right answers",
        "stays here: every row, and the client's own model",
        f"trains ranks up to {agreement.cap or 'any'}, with at least {agreement.least_rows} rows",
    ]
    return replace(agreement, rows=rows), lines
