"""The size of an adapted module."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModuleShape:
    """Size of one module; a convolution's ``d_in`` is in * kh * kw."""

    d_in: int
    d_out: int

    @property
    def slot_parameters(self) -> int:
        """Numbers in one slot."""
        return self.d_in + self.d_out

    @property
    def full_rank(self) -> int:
        """Largest rank that adds anything."""
        return min(self.d_in, self.d_out)
