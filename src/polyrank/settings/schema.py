"""The settings of a run, as checked types.

Torch-free. The options of methods (a partitioner's concentration, a model's widths) stand
beside the method's name and are checked against its signature by ``polyrank.registry``.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from polyrank.aggregators import AGGREGATORS
from polyrank.allocators import ALLOCATORS
from polyrank.criteria import CRITERIA
from polyrank.errors import SettingsError
from polyrank.head_inits import HEAD_INITS
from polyrank.models import MODELS
from polyrank.partitioners import PARTITIONERS
from polyrank.registry import Table, name_of
from polyrank.server_optimizers import SERVER_OPTIMIZERS

SAFE = {
    "aggregator": {"kind": "anchored"},
    "server_optimizer": {"kind": "fedavgm", "momentum": 0.5},
    "average": 0.8,
}
Share = Annotated[float, Field(ge=0, lt=1)]
CHANGEABLE_ON_RESUME = frozenset({"rounds", "workers", "task_timeout", "device", "trackers"})
NAME_BYTES = 200  # of 255 that a file name may have; a number and endings are added


def _as_folder(name: str) -> str:
    """Return a run's name, which becomes a folder, if every system can make it."""
    fits = 0 < len(name.encode(errors="replace")) <= NAME_BYTES and name == name.strip(" .")
    if not (fits and name.isprintable() and not set(name) & set("/\\")):
        raise ValueError(
            f"expected a name for the run's folder: 1 to {NAME_BYTES} bytes, no slash, backslash "
            "or control character, and no dot or space at either end"
        )
    return name


_NAMED = BeforeValidator(lambda v: name_of(v) if callable(v) else v)


class Strict(BaseModel):
    """A table whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Method(BaseModel):
    """A named method with its options beside the name: ``{kind = "dirichlet", ...}``."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: Annotated[str, _NAMED]

    @property
    def options(self) -> dict[str, Any]:
        """What stands beside the known keys, for the method's signature."""
        return dict(self.model_extra or {})


def _short(key: str) -> BeforeValidator:
    """Let a bare string, list or function stand for a table with one key."""
    return BeforeValidator(lambda v: {key: v} if isinstance(v, str | list) or callable(v) else v)


class DataSettings(BaseModel):
    """Where the examples come from, and how much is held out."""

    model_config = ConfigDict(extra="allow", frozen=True)

    source: str | list[str] = "digits"
    test: Share = 0.2
    validation: Share = 0.1
    client_test: Share = 0.2

    @property
    def options(self) -> dict[str, Any]:
        """Options of the loader."""
        return dict(self.model_extra or {})


class PartitionSettings(Method):
    """How the training rows are split over clients."""

    clients: PositiveInt | None = None


class ModuleRanks(Strict):
    """Rank range of one module."""

    r_min: PositiveInt | None = None
    r_max: PositiveInt | None = None


class BudgetSettings(Strict):
    """What all ranks together may cost; exactly one of the three."""

    mean_rank: PositiveFloat | None = None
    parameters: PositiveInt | None = None
    bytes: PositiveInt | None = None

    @model_validator(mode="after")
    def _one(self) -> "BudgetSettings":
        if sum(v is not None for v in (self.mean_rank, self.parameters, self.bytes)) != 1:
            raise ValueError("give exactly one of mean_rank, parameters, bytes")
        return self


class RankSettings(Strict):
    """Ranges, budget and caps of the ranks.

    ``modules`` overrides the range by module name; ``caps`` gives the largest rank that a
    client's device can hold.
    """

    r_min: PositiveInt = 2
    r_max: PositiveInt = 16
    modules: dict[str, ModuleRanks] = {}
    budget: Annotated[
        BudgetSettings | None,
        BeforeValidator(lambda v: {"mean_rank": v} if isinstance(v, int | float) else v),
    ] = None
    caps: dict[str, PositiveInt] = {}

    @model_validator(mode="after")
    def _ordered(self) -> "RankSettings":
        if self.r_min > self.r_max:
            raise ValueError(f"r_min {self.r_min} is larger than r_max {self.r_max}")
        return self


class AdapterSettings(Strict):
    """What is trained: LoRA on ``targets``, and the ``extras`` beside it.

    ``auto`` extras are the new head of a pre-trained model, and all other parameters of a
    model that starts at random.
    """

    targets: str | list[str] = "all"
    extras: str | list[str] = "auto"
    scaling: PositiveFloat = 1.0


class TrainingSettings(Strict):
    """Local training of one client in one round; ``steps`` overrides ``epochs``.

    ``head_learning_rate`` is that of the extras; left out, they have that of the adapters.
    """

    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    head_learning_rate: PositiveFloat | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: NonNegativeFloat = 0.0
    epochs: PositiveInt = 5
    steps: PositiveInt | None = None
    batch_size: PositiveInt = 32
    clip_norm: PositiveFloat | None = None
    prox_mu: NonNegativeFloat = 0.0
    local_loss: Literal["cross_entropy", "calibrated"] = "cross_entropy"
    accumulate: PositiveInt = 1
    autocast: Literal["none", "bf16", "fp16"] = "none"
    checkpointing: bool = False
    schedule: Literal["constant", "linear", "cosine"] = "constant"

    @model_validator(mode="after")
    def _momentum_fits(self) -> "TrainingSettings":
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum belongs to optimizer 'sgd', not {self.optimizer!r}")
        return self


class ProbeSettings(Strict):
    """How criteria are measured; ``epsilon`` adds Laplace noise to the label counts.

    ``steps`` are as many on every client, since a loss after few of them is high whatever the data.
    """

    steps: Annotated[int, Field(ge=2)] = 40
    epsilon: PositiveFloat | None = None


class PretrainSettings(Strict):
    """Training of the whole base on a public share of the data, before it is frozen."""

    share: Annotated[float, Field(gt=0, lt=1)]
    epochs: PositiveInt = 5
    learning_rate: PositiveFloat = 1e-3
    batch_size: PositiveInt = 32


class EvaluationSettings(Strict):
    """How often the global model is evaluated, and the accuracy that counts as reached.

    Without ``global_model`` it is evaluated before training only: what counts are the clients'
    own models, on their own test rows.
    """

    every: PositiveInt = 1
    target_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    global_model: bool = True


class Settings(Strict):
    """All settings of a run."""

    name: Annotated[str, AfterValidator(_as_folder)] = "run"
    seed: int = 0
    rounds: PositiveInt = 20
    workers: PositiveInt = 1
    task_timeout: PositiveFloat = 3600.0
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    trackers: list[Literal["tensorboard"]] = []
    cohort_size: PositiveInt | None = None
    cohort_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    quorum: PositiveInt = 1
    attempts: PositiveInt = 2
    norm_bound: NonNegativeFloat = 10.0
    base: str = "random"
    init_adapter: str | None = None
    criteria: list[Annotated[str, _NAMED]] = [
        "label_entropy",
        "gini_simpson",
        "label_count",
        "sample_count",
    ]
    data: Annotated[DataSettings, _short("source")] = DataSettings()
    partition: Annotated[PartitionSettings, _short("kind")] = PartitionSettings(
        kind="dirichlet", clients=10
    )
    model: Annotated[Method, _short("kind")] = Method(kind="mlp")
    adapter: AdapterSettings = AdapterSettings()
    ranks: RankSettings = RankSettings()
    allocator: Annotated[Method, _short("kind")] = Method(kind="autorank")
    aggregator: Annotated[Method, _short("kind")] = Method(kind="anchored")
    server_optimizer: Annotated[Method, _short("kind")] = Method(kind="none")
    head_init: Annotated[Method, _short("kind")] = Method(kind="auto")
    average: Share = 0.0
    training: TrainingSettings = TrainingSettings()
    probe: ProbeSettings = ProbeSettings()
    pretrain: PretrainSettings | None = None
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="before")
    @classmethod
    def _safe_where_nothing_is_said(cls, given: Any) -> Any:  # noqa: ANN401 - whatever came
        """Without an aggregator: ours, with the momentum and the average that it is measured with.

        A method that is named runs as it was published, unless more is asked for.
        """
        if isinstance(given, dict) and "aggregator" not in given:
            return {**SAFE, **given}
        return given

    @model_validator(mode="after")
    def _one_cohort(self) -> "Settings":
        if self.cohort_size and self.cohort_fraction:
            raise ValueError("give cohort_size or cohort_fraction, not both")
        if self.partition.clients:
            self.check_cohort(self.partition.clients)
        return self

    @model_validator(mode="after")
    def _private_counts_stay_private(self) -> "Settings":
        if self.probe.epsilon is not None and self.head_init.kind not in ("auto", "none"):
            raise ValueError(
                f"head_init = {self.head_init.kind!r} sends every client's label counts as they "
                "are, and probe.epsilon asks for noise on them; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _something_is_evaluated(self) -> "Settings":
        if not self.evaluation.global_model and not self.data.client_test:
            raise ValueError(
                "evaluation.global_model = false leaves the clients' own models to be judged, on "
                "their own test rows: expected data.client_test above 0, got 0"
            )
        return self

    @property
    def named_methods(self) -> list[tuple[str, Table, str]]:
        """Every method that is named: the key, the table that it is looked up in, the name."""
        return [
            ("partition", PARTITIONERS, self.partition.kind),
            ("model", MODELS, self.model.kind),
            ("allocator", ALLOCATORS, self.allocator.kind),
            ("aggregator", AGGREGATORS, self.aggregator.kind),
            ("server_optimizer", SERVER_OPTIMIZERS, self.server_optimizer.kind),
            ("head_init", HEAD_INITS, self.head_init.kind),
            *(("criteria", CRITERIA, name) for name in self.criteria),
        ]

    @model_validator(mode="after")
    def _known_methods(self) -> "Settings":
        for _, table, name in self.named_methods:
            table.check(name)
        return self

    def cohort(self, clients: int) -> int:
        """Return how many of the clients take part in a round."""
        if self.cohort_size:
            return min(clients, self.cohort_size)
        return max(1, round(clients * (self.cohort_fraction or 1.0)))

    def check_cohort(self, clients: int) -> None:
        """Check that rounds can have the cohort and the quorum that are asked for.

        Raises:
            SettingsError: there are too few clients.
        """
        if self.cohort_size and self.cohort_size > clients:
            raise SettingsError(
                f"cohort_size = {self.cohort_size}: expected at most the number of clients, "
                f"which is {clients}"
            )
        size = self.cohort(clients)
        if self.quorum > size:
            raise SettingsError(
                f"quorum = {self.quorum}: expected at most the clients of a round, which are "
                f"{size} of {clients}"
            )
