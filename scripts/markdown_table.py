"""Tables of the documentation, as Markdown."""


def markdown_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Write rows of cells as a table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)
