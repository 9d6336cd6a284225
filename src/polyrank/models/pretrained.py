"""What a factory of pre-trained models can do besides building one."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from polyrank.inputs.arrays import Encoded

FactoryT = TypeVar("FactoryT", bound=Callable[..., Any])


@dataclass(frozen=True)
class Pretrained:
    """What a factory of pre-trained models offers besides building one, with the same options.

    Args:
        shell: builds the same model without its weights, for those who put them in.
        head: names the modules that turn features into answers; without options.
        extras: names the modules that are trained beside LoRA by default; without options.
        drawn: names the weights of a model just built that did not come with it; without options.
        describe: writes what transformers needs beside the weights into a folder, given the
            names of the labels.
        prepare: writes the tokeniser or preprocessor alone into a folder.
        encode: turns inputs (n, ...) and labels (n,) of a data set into examples, with a
            folder where the work may be kept.
    """

    shell: Callable[..., "nn.Module"]
    head: Callable[["nn.Module"], Sequence[str]]
    extras: Callable[["nn.Module"], Sequence[str]]
    drawn: Callable[["nn.Module"], Collection[str]]
    describe: Callable[..., None]
    prepare: Callable[..., None]
    encode: Callable[["np.ndarray", "np.ndarray", Path | None, Mapping[str, Any]], "Encoded"]


def pretrained(about: Pretrained) -> Callable[[FactoryT], FactoryT]:
    """Mark a model factory whose models come with weights of their own."""

    def mark(make: FactoryT) -> FactoryT:
        make.pretrained = about  # type: ignore[attr-defined]
        return make

    return mark
