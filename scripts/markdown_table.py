"""Tables of the documentation, as Markdown, and what stands in their cells."""

import statistics
from collections.abc import Sequence


def markdown_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Write rows of cells as a table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def spread(values: Sequence[float], *, sign: str = "", digits: int = 1) -> str:
    """Write mean and standard deviation, of one value that alone, of none nothing."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.{digits}f}{deviation}"


def percent(shares: Sequence[float]) -> str:
    """Write mean and standard deviation of shares, in points."""
    return spread([100 * share for share in shares])
