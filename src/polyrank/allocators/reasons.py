"""Say in plain words why a client got its rank."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from polyrank.allocators.choice import Choice

NOTHING = 0.005  # of a contribution, which two decimals show as 0.00
_BUDGET = {-1: "lowered by the budget", 0: "", 1: "raised by the budget"}


def explain(choice: Choice, index: int) -> str:
    """Say why the client at ``index`` got its rank; for many clients use ``reasons``."""
    (text,) = _texts(choice, np.array([index]))
    return text


def reasons(choice: Choice) -> Iterator[str]:
    """Yield for each client, in order, why it got its rank.

    Such as ``"position 3 of 10; lifted most by label_entropy, lowered most by
    sample_count; held by its cap; raised by the budget"``. Clients with equal scores share
    a position. A criterion that moved the score by nothing is not named.
    """
    return _texts(choice, np.arange(len(choice.clients)))


def spread_note(share: float) -> str:
    """Say in a sentence that ranks use a share of their range, and why; ``""`` for all of it."""
    if share >= 1:
        return ""
    if share <= 0:
        return "Clients are too alike to tell apart, so all get one rank."
    return f"Clients differ little, so ranks use {100 * share:.2g} % of their range."


def positions(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """Position (n,) of each score, from 1 (best); equal scores share the better position."""
    return np.searchsorted(np.sort(-scores), -scores, side="left") + 1


def _texts(choice: Choice, which: NDArray[np.intp]) -> Iterator[str]:
    """Texts of the clients ``which``: a position, then one of a few endings."""
    names = list(choice.criterion_weights)
    codes, kind = np.unique(_codes(choice, which), return_inverse=True)
    endings = [_ending(names, int(code)) for code in codes]
    if choice.scores is None:
        return (choice.basis + endings[of] for of in kind.tolist())
    count = len(choice.clients)
    place = positions(choice.scores)[which].tolist()
    start = f"{choice.basis}, position" if choice.contributions is None else "position"
    if choice.share <= 0:
        return (f"clients are too alike to tell apart{endings[of]}" for of in kind.tolist())
    among = f"{count} that differ little" if choice.share < 1 else f"{count}"
    return (
        f"{start} {at} of {among}{endings[of]}" for at, of in zip(place, kind.tolist(), strict=True)
    )


def _codes(choice: Choice, which: NDArray[np.intp]) -> NDArray[np.int64]:
    """What an ending depends on (m,), as the digits of one number; see ``_ending``."""
    codes = np.zeros(len(which), np.int64)
    if choice.contributions is not None:
        base = choice.contributions.shape[1] + 1
        part = choice.contributions[which]
        codes += np.where(part.max(axis=1) >= NOTHING, part.argmax(axis=1) + 1, 0) * base
        codes += np.where(part.min(axis=1) <= -NOTHING, part.argmin(axis=1) + 1, 0)
    codes *= 6
    if choice.capped is not None:
        codes += 3 * choice.capped[which]
    if choice.pull is not None:
        codes += choice.pull[which] + 1
    else:
        codes += 1
    return codes


def _ending(names: list[str], code: int) -> str:
    """The text of a code: criterion that lifted, that lowered, capped, pull."""
    criteria, held = divmod(code, 6)
    lifted, lowered = divmod(criteria, len(names) + 1)
    parts = [f"lifted most by {names[lifted - 1]}"] if lifted else []
    parts += [f"lowered most by {names[lowered - 1]}"] if lowered else []
    clauses = [", ".join(parts), "held by its cap" if held >= 3 else "", _BUDGET[held % 3 - 1]]
    return "".join(f"; {clause}" for clause in clauses if clause)
