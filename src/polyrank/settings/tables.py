"""The tables of the settings that say what a run is made of: data, clients, ranks, adapters.

A field is described at its definition; the reference of the settings is made from there.
"""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from polyrank.lora.scaling import Per
from polyrank.lora.shapes import Parametrisation
from polyrank.registry import name_of

Share = Annotated[float, Field(ge=0, lt=1)]
NAMED = BeforeValidator(lambda v: name_of(v) if callable(v) else v)


class Strict(BaseModel):
    """Base of the settings tables that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class MethodSettings(BaseModel):
    """A named method with its options beside the name: ``{kind = "dirichlet", ...}``."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    kind: Annotated[str, NAMED]
    """Name of the method, or `module:function` of your own; its options stand beside it."""

    @property
    def options(self) -> dict[str, Any]:
        """What stands beside the known keys, for the method's signature."""
        return dict(self.model_extra or {})


OneOrMore = BeforeValidator(lambda v: [v] if isinstance(v, int | float) else v)


class NormaliseSettings(Strict):
    """What is done to every input, of clients and server alike: (x - mean) / std."""

    mean: Annotated[list[FiniteFloat], Field(min_length=1), OneOrMore]
    """Taken off the inputs, which for 8-bit images are 0 to 1: a number, or one a channel."""
    std: Annotated[list[Annotated[FiniteFloat, Field(gt=0)]], Field(min_length=1), OneOrMore]
    """By which they are then divided: a number above 0, or one a channel."""


class DataSettings(BaseModel):
    """Where the examples come from, and how much is held out."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    source: str | list[str] = "digits"
    """Data set, file, list of files (one a client), or a loader of your own; its options stand
    beside it. The default is bundled and needs no download.
    """
    test: Share = 0.2
    """Share of the rows that become test rows, if the data brings none."""
    validation: Share = 0.1
    """Share of the training rows that chooses the best round, so that test rows choose nothing."""
    client_test: Share = 0.2
    """Share of each client's rows that is its own test part, on which its own model is judged."""
    normalise: NormaliseSettings | None = None
    """Constants by which inputs are brought to a common scale, as papers have them; left out,
    inputs are as they come.
    """

    @property
    def options(self) -> dict[str, Any]:
        """Options of the loader."""
        return dict(self.model_extra or {})


class PartitionSettings(MethodSettings):
    """How the training rows are split over clients."""

    clients: PositiveInt | None = None
    """Number of clients; `natural` needs none. 10 goes with the default kind."""


class ModuleRanks(Strict):
    """Rank range of one module."""

    r_min: PositiveInt | None = None
    """Smallest rank in this module, by hand too; left out, that of all modules."""
    r_max: PositiveInt | None = None
    """Largest rank in this module; left out, that of all modules."""


class BudgetSettings(Strict):
    """What all ranks together may cost; exactly one of the three."""

    mean_rank: PositiveFloat | None = None
    """The most that the mean rank over clients and modules may be."""
    parameters: PositiveInt | None = None
    """The most numbers that the factors of all clients together may hold."""
    bytes: PositiveInt | None = None
    """The most bytes that the factors of all clients together may hold, at four a number."""

    @model_validator(mode="after")
    def _one(self) -> "BudgetSettings":
        if sum(v is not None for v in (self.mean_rank, self.parameters, self.bytes)) != 1:
            raise ValueError("give exactly one of mean_rank, parameters, bytes")
        return self


class RankSettings(Strict):
    """Range, budget and caps of the ranks."""

    r_min: PositiveInt = 2
    """Smallest rank that is chosen."""
    r_max: PositiveInt = 16
    """Largest rank that is chosen, and the number of slots that the server holds."""
    modules: dict[str, ModuleRanks] = {}
    """Smallest and largest rank of single modules, by name."""
    budget: Annotated[
        BudgetSettings | None,
        BeforeValidator(lambda v: {"mean_rank": v} if isinstance(v, int | float) else v),
    ] = None
    """What all ranks together may cost; left out, only the ranges and caps bind."""
    caps: dict[str, PositiveInt] = {}
    """Largest rank that a client's device can hold in any module, by client."""
    refresh_every: PositiveInt | None = None
    """Rounds after which ranks are chosen again, with what clients then measure. Left out, they are
    chosen once, before the first round; by an allocator that observes training, after every round.
    """

    @model_validator(mode="after")
    def _ordered(self) -> "RankSettings":
        if self.r_min > self.r_max:
            raise ValueError(f"r_min {self.r_min} is larger than r_max {self.r_max}")
        return self


class ScalingSettings(Strict):
    """By what the product of a module's factors is multiplied."""

    alpha: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    """Number above 0; by itself, as `scaling = 2.0`, it is the constant."""
    per: Per = "constant"
    """By what alpha is divided: nothing (`constant`); a client's own rank of the module (`rank`),
    as in LoRA and in the runs of RBLA's authors; or its root (`sqrt_rank`), as in rsLoRA.
    """


OrAlpha = BeforeValidator(lambda v: {"alpha": v} if isinstance(v, int | float) else v)


class ModuleAdapter(Strict):
    """What differs in one module."""

    scaling: Annotated[ScalingSettings, OrAlpha]
    """Its scaling, in place of that of all modules."""


class AdapterSettings(Strict):
    """What is trained: LoRA on some modules, and other parameters beside it."""

    parametrisation: Parametrisation = "lora"
    """Form of every update: `lora`, s · B · A, or `svd`, s · B · diag(E) · A, where E has a number
    for each slot, trained and sent with it. With `svd` all clients start with the same random B
    and A, and E at 0.
    """

    targets: str | list[str] = "all"
    """Modules with LoRA: `all` linear and convolutional, `all-linear`, or names."""
    extras: str | list[str] = "auto"
    """What is trained beside LoRA: `all`, `none`, or names of parameters or modules; `auto` is the
    new head of a pre-trained model, and everything else of a model that starts at random.
    """
    scaling: Annotated[ScalingSettings, OrAlpha] = ScalingSettings()
    """The s of every update s · B · A. As a number it is one constant for all ranks, so that a slot
    means the same on every client; a table can have it depend on the rank.
    """
    modules: dict[str, ModuleAdapter] = {}
    """Scaling of single modules, by name."""

    @property
    def by_rank(self) -> bool:
        """Whether the scaling of any module depends on the rank."""
        rules = [self.scaling, *(own.scaling for own in self.modules.values())]
        return any(rule.per != "constant" for rule in rules)
