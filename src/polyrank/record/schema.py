"""The types from which all records are made: each key is checked, when written and when read.

A field without a default is a key that is always there; one whose default is None is left out
while it is None. Keys that nobody knows are left alone. A number that is not finite is written,
and read, as null.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from polyrank.disk.outside import parse_json
from polyrank.errors import RunFolderError

LARGEST = 2**53  # a browser counts no further
LONGEST = 60  # characters of a wrong value in a message
EXPECTED = {  # type of a pydantic error -> what should have come
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text",
    "string_unicode": "a text of whole characters",
    "bool_type": "true or false",
    "mapping_type": "an object",
    "dict_type": "an object",
    "model_type": "an object",
    "sequence_str": "a list",
    "is_instance_of": "a list",
    "missing": "a value",
}


def _number(value: object) -> int | float | None:
    """Let numbers through: those that are not finite as None, very large whole ones as floats."""
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise PydanticCustomError("number", "expected a number or null")
    try:
        if value is None or not math.isfinite(value):
            return None
    except OverflowError:  # a whole number beyond all floats
        return None
    return float(value) if isinstance(value, int) and abs(value) > LARGEST else value


def _printable(text: object) -> object:
    """Replace halves of characters, which a client may have sent and no file can hold."""
    return text.encode(errors="replace").decode() if isinstance(text, str) else text


def _judgeable(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    if not {"accuracy", "loss"} <= metrics.keys():
        raise PydanticCustomError("metrics", "expected the keys accuracy and loss")
    return metrics


Count = Annotated[int, Field(ge=0, le=LARGEST)]
Total = Annotated[int, Field(ge=0)]  # of counts
Reason = Annotated[str, BeforeValidator(_printable)]
Number = Annotated[int | float | None, BeforeValidator(_number)]
Part = Annotated[float, Field(ge=0, le=1)]  # of a whole
Metrics = Annotated[Mapping[str, Number], AfterValidator(_judgeable)]
RanksByModule = Mapping[str, Count]  # module -> rank
SlotNumbers = Mapping[str, Sequence[Count]]  # module -> numbers of its slots


class Typed(BaseModel):
    """One JSON object of a run folder."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, populate_by_name=True)

    def as_json(self) -> dict[str, Any]:
        """Return what is written, in the order of the fields."""
        fields = {f.serialization_alias or name: f for name, f in type(self).model_fields.items()}
        whole = self.model_dump(mode="json", by_alias=True)
        return {k: v for k, v in whole.items() if fields[k].is_required() or v is not None}

    @classmethod
    def read(cls, value: object, where: Path | str) -> Self:
        """Check a JSON value that may be damaged.

        Raises:
            RunFolderError: naming the place, the key, what was expected and what came.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise RunFolderError(f"{where}: {_told(first)}") from error


def parse_object(text: str | bytes, where: Path | str) -> dict[str, Any]:
    """Read a text that should be one JSON object.

    Raises:
        RunFolderError: it is not; the place is named.
    """
    try:
        found = parse_json(text)
    except ValueError as error:
        raise RunFolderError(f"{where}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise RunFolderError(f"{where}: expected a JSON object, got {shown(found)}")
    return found


def _told(error: ErrorDetails) -> str:
    parts = [str(part) for part in error["loc"] if part not in ("int", "float")]
    expected = EXPECTED.get(error["type"])
    came = "none" if error["type"] == "missing" else shown(error["input"])
    said = f"expected {expected}" if expected else _lowered(error["msg"])
    key = f"{'.'.join(parts)}: " if parts else ""  # a fault of the whole object has none
    return f"{key}{said}, got {came}"


def _lowered(message: str) -> str:
    """Return pydantic's words such as "Input should be less than 3" as ours."""
    return message.replace("Input should be", "expected a value")


def shown(value: object) -> str:
    """Return a wrong value for a message, cut where it is long."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
