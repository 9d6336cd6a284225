"""The size of an adapted module, the forms that its update can have, and travel in."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Parametrisation: TypeAlias = Literal["lora", "svd"]
Compression: TypeAlias = Literal["none", "int8"]


@dataclass(frozen=True)
class ModuleShape:
    """Size of one module; a convolution's ``d_in`` is in * kh * kw."""

    d_in: int
    d_out: int

    def slot_parameters(self, parametrisation: Parametrisation = "lora") -> int:
        """Numbers in one slot: a row of ``a``, a column of ``b``, in SVD form one of ``e``."""
        return self.d_in + self.d_out + (parametrisation == "svd")

    @property
    def full_rank(self) -> int:
        """Largest rank that adds anything."""
        return min(self.d_in, self.d_out)
