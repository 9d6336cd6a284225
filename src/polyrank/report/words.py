"""Numbers in plain words, as a reader of the page sees them."""

from collections.abc import Callable, Iterable, Sequence

from polyrank.judging import perplexity_text

NOTHING = "\u2013"  # an en dash
BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def percent(share: float | None) -> str:
    """Return 0.9412 as "94.1 %"."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def shown_perplexity(value: float | None) -> str:
    """Return a perplexity with two decimals, or short where it is beyond reading."""
    return NOTHING if value is None else perplexity_text(value)


def number(value: float | None) -> str:
    """Return a count with thin separators, or another number with three digits that matter."""
    if value is None:
        return NOTHING
    if isinstance(value, int) or value == 0:
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def telling(values: Iterable[float | None]) -> Callable[[float | None], str]:
    """Return how to show a column: counts whole, other numbers so that unequal ones look so.

    They get three digits that matter, or up to six where that is what tells them apart.
    """
    known = {value for value in values if value is not None}
    if all(float(value).is_integer() for value in known):
        return lambda value: NOTHING if value is None else f"{value:,.0f}"
    for digits in (3, 4, 5, 6):
        shown = {_significant(value, digits) for value in known}
        if len(shown) == len(known):
            break
    return lambda value: NOTHING if value is None else _significant(value, digits)


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    whole = len(f"{abs(value):.0f}") if abs(value) >= 1 else 0
    return (
        f"{value:,.{digits - whole}f}"
        if 0 < whole < digits
        else (f"{value:,.0f}" if whole else f"{value:#.{digits}g}")
    )


def size(count: float | None) -> str:
    """Return 1,234,567 bytes as "1.23 MB" (1 MB is a million bytes)."""
    if count is None:
        return NOTHING
    factor, unit = byte_unit(count)
    return f"{number(count / factor)} {unit}" if factor > 1 else f"{count:g} {unit}"


def byte_unit(largest: float) -> tuple[int, str]:
    """Return the factor and name of the unit in which ``largest`` bytes read well."""
    power = 0
    while largest >= 999.5 and power < len(BYTE_UNITS) - 1:
        largest, power = largest / 1000, power + 1
    return 1000**power, BYTE_UNITS[power]


def duration(seconds: float) -> str:
    """Return 3,725 seconds as "1 h 2 min"."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return "1 client" or "12 clients"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def readable(name: str) -> str:
    """Return the name of a field, such as "macro_f1", as a heading."""
    known = {"macro_f1": "Macro-F1"}
    return known.get(name) or name.replace("_", " ").capitalize()


def rank_range(ranks: Sequence[int]) -> str:
    """Return "8", or "4 to 16" where modules differ."""
    if not ranks:
        return NOTHING
    low, high = min(ranks), max(ranks)
    return str(low) if low == high else f"{low} to {high}"
