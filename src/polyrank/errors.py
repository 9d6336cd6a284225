"""Every error that PolyRank raises on purpose.

    PolyRankError
    ├── SettingsError         a setting is unknown, of the wrong type, or impossible
    │   ├── UnknownNameError  a method, data set or model of that name does not exist
    │   └── BudgetError       no ranks fit the budget under the caps
    ├── DataError             a data set cannot be read or used
    │   └── EmptyClientError  a client has no examples
    ├── ShapeError            tensors do not fit together
    ├── AdapterError          an adapter folder or its names do not fit the model
    ├── TrainingError         a client's training failed
    ├── MessageError          bytes from the network, or from a worker, are no message
    ├── QuorumError           too few good updates came back in a round
    ├── RunFolderError        a run folder cannot be written, read or resumed
    └── FederationError       a federation of several machines cannot be made, reached or trusted

Messages say what was expected, what it got, and where.
"""

import difflib
from collections.abc import Iterable


class PolyRankError(Exception):
    """Base of all errors that PolyRank raises on purpose."""


class SettingsError(PolyRankError):
    """A setting is unknown, of the wrong type, or impossible."""


class UnknownNameError(SettingsError):
    """A method, data set or model of that name does not exist."""


class BudgetError(SettingsError):
    """No ranks fit the budget under the caps."""


class DataError(PolyRankError):
    """A data set cannot be read or used."""


class EmptyClientError(DataError):
    """A client has no examples."""


class ShapeError(PolyRankError):
    """Tensors do not fit together."""


class AdapterError(PolyRankError):
    """An adapter folder or its names do not fit the model."""


class TrainingError(PolyRankError):
    """A client's training failed."""


class MessageError(PolyRankError):
    """Bytes from the network, or from a worker, are no message."""


class QuorumError(PolyRankError):
    """Too few good updates came back in a round."""


class RunFolderError(PolyRankError):
    """A run folder cannot be written, read or resumed."""


class FederationError(PolyRankError):
    """A federation of several machines cannot be made, reached or trusted."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
