"""The settings of a run, as checked types.

Torch-free. The options of methods (a partitioner's concentration, a model's widths) stand
beside the method's name and are checked against its signature by ``polyrank.registry``.
"""

from collections.abc import Mapping
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
from polyrank.registry import Registry, name_of
from polyrank.server_optimizers import SERVER_OPTIMIZERS

RECIPES: Mapping[str, Mapping[str, Any]] = {  # where they differ from the defaults at the fields
    "safe": {},
    "paper": {"server_optimizer": {"kind": "none"}, "average": 0.0},
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
    """Base of the settings tables that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class MethodSettings(BaseModel):
    """A named method with its options beside the name: ``{kind = "dirichlet", ...}``."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    kind: Annotated[str, _NAMED]
    """Name of the method, or `module:function` of your own; its options stand beside it."""

    @property
    def options(self) -> dict[str, Any]:
        """What stands beside the known keys, for the method's signature."""
        return dict(self.model_extra or {})


def _short(key: str) -> BeforeValidator:
    """Let a bare string, list or function stand for a table with one key."""
    return BeforeValidator(lambda v: {key: v} if isinstance(v, str | list) or callable(v) else v)


def _kind_of(given: object, default: str) -> object:
    """Return the name of a method that is given in short or as a table, or the default's."""
    if isinstance(given, MethodSettings):
        return given.kind
    return given.get("kind", default) if isinstance(given, Mapping) else given


def _over(given: object, default: object) -> object:
    """Return what is given, and under it the options of the default if it is that method."""
    if isinstance(given, str) and isinstance(default, Mapping):
        given = {"kind": given}
    if not isinstance(given, Mapping) or not isinstance(default, Mapping):
        return given
    same = given.get("kind", default["kind"]) == default["kind"]
    return {**default, **given} if same else given


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
    """Smallest rank in this module; left out, that of all modules."""
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


class AdapterSettings(Strict):
    """What is trained: LoRA on some modules, and other parameters beside it."""

    targets: str | list[str] = "all"
    """Modules with LoRA: `all` linear and convolutional, `all-linear`, or names."""
    extras: str | list[str] = "auto"
    """What is trained beside LoRA: `all`, `none`, or names of parameters or modules; `auto` is the
    new head of a pre-trained model, and everything else of a model that starts at random.
    """
    scaling: PositiveFloat = 1.0
    """The constant s of every update s · B · A. It does not depend on the rank, so that a slot
    means the same on every client.
    """


class TrainingSettings(Strict):
    """Training of one client in one round."""

    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    """Optimiser of the clients; it starts afresh in each round."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of the adapters, before the schedule; the default suits `adam`."""
    head_learning_rate: PositiveFloat | None = None
    """Step size of the extras; left out, that of the adapters."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of `sgd`; other optimisers refuse it."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay of the optimiser; 0 is none."""
    epochs: PositiveInt = 5
    """Passes over its rows that a client trains in a round."""
    steps: PositiveInt | None = None
    """Optimiser steps of every client in a round, in place of `epochs`."""
    batch_size: PositiveInt = 32
    """Rows in one optimiser step."""
    clip_norm: PositiveFloat | None = None
    """Largest Euclidean norm of the gradient; a larger one is scaled down. Left out, none is."""
    prox_mu: NonNegativeFloat = 0.0
    """Pull of FedProx towards the model that the round started from; 0 is none."""
    local_loss: Literal["cross_entropy", "calibrated"] = "cross_entropy"
    """Loss that clients train; `calibrated` adds the log of the client's label shares to the
    logits, against skewed labels.
    """
    accumulate: PositiveInt = 1
    """Parts in which a batch goes through the model, to need less memory; the step is the same."""
    autocast: Literal["none", "bf16", "fp16"] = "none"
    """Number format of mixed precision in training and evaluation; `none` is float32."""
    checkpointing: bool = False
    """Compute activations twice rather than hold them, to need less memory; `hf` models only."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls over the rounds of the run."""

    @model_validator(mode="after")
    def _momentum_fits(self) -> "TrainingSettings":
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum belongs to optimizer 'sgd', not {self.optimizer!r}")
        return self


class ProbeSettings(Strict):
    """How criteria are measured, and the noise that keeps label counts private."""

    steps: Annotated[int, Field(ge=2)] = 40
    """Optimiser steps that every client trains before criteria that read losses are measured; alike
    for all, since the loss after few steps is high whatever the data.
    """
    epsilon: PositiveFloat | None = None
    """Laplace noise of scale 1/epsilon on every label count, to keep it private; left out, none."""


class PretrainSettings(Strict):
    """Training of the whole base on a public share of the data, before it is frozen."""

    share: Annotated[float, Field(gt=0, lt=1)]
    """Share of the training rows that is public: it trains the base, and no client has it."""
    epochs: PositiveInt = 5
    """Passes over the public rows."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of the pre-training, with Adam."""
    batch_size: PositiveInt = 32
    """Rows in one step of the pre-training."""


class EvaluationSettings(Strict):
    """How often the global model is evaluated, and the accuracy that counts as reached."""

    every: PositiveInt = 1
    """Rounds from one evaluation to the next; the last round is always evaluated."""
    target_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    """Test accuracy that counts as reached: the summary names the first round with it."""
    global_model: bool = True
    """Whether the global model is evaluated; `false` does so before training only, and judges the
    clients' own models, on their own test rows.
    """


class Settings(Strict):
    """All settings of a run."""

    name: Annotated[str, AfterValidator(_as_folder)] = "run"
    """Name of the run and of its folder; left out, the settings file's name without `.toml`."""
    seed: int = 0
    """Root of every random stream: with the same seed a run on one machine has the same bits."""
    rounds: PositiveInt = 20
    """Rounds in all."""
    workers: PositiveInt = 1
    """Processes that train clients, of one thread each; the result is the same for any number."""
    task_timeout: PositiveFloat = 3600.0
    """Seconds that a worker has for one task before it is replaced and another one does it again;
    an hour, so that a slow client is not taken for a dead one.
    """
    round_timeout: PositiveFloat | None = None
    """Seconds after which a round that has its quorum gives up the clients that have not answered;
    left out, it waits for all. With it, bits repeat only as far as the same clients are in time.
    """
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """Where clients train; `auto` takes a GPU if torch sees one. Only on `cpu` bits repeat."""
    trackers: list[Literal["tensorboard"]] = []
    """Experiment trackers to log to; needs `polyrank[track]`."""
    cohort_size: PositiveInt | None = None
    """Clients drawn in each round; all if neither this nor the fraction is given."""
    cohort_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the clients drawn in each round, at least one client."""
    quorum: PositiveInt = 1
    """Good updates that a round needs; all of them where the cohort is smaller."""
    attempts: PositiveInt = 2
    """How often a round is tried, each time with a new cohort, before the run stops."""
    norm_bound: NonNegativeFloat = 10.0
    """How many times as large as the round's median, and as what its client was sent, an update
    may be by its root mean square; 0 for any size. Honest ones share a start and stay far below 10.
    """
    profile: list[Literal["examples", "label_counts"]] = ["examples", "label_counts"]
    """What each client tells of its data before round 1: how many examples it has to train on and
    to test on, and how many of each label, with noise if `probe.epsilon` asks for it. Without
    `examples`, models are not evaluated on the clients' own test rows.
    """
    base: str = "random"
    """Frozen weights: `random`, as the model is built, or a safetensors file of its state."""
    init_adapter: str | None = None
    """PEFT folder whose adapter fills the first slots at the start; left out, LoRA's own start."""
    criteria: list[Annotated[str, _NAMED]] = [
        "label_entropy",
        "gini_simpson",
        "label_count",
        "sample_count",
    ]
    """What is measured of each client, for allocators that read criteria; the default needs nothing
    but label counts.
    """
    data: Annotated[DataSettings, _short("source")] = DataSettings()
    """Where the examples come from, and how much of them is held out."""
    partition: Annotated[PartitionSettings, _short("kind")] = PartitionSettings(
        kind="dirichlet", clients=10
    )
    """Rule that splits the training rows over clients."""
    model: Annotated[MethodSettings, _short("kind")] = MethodSettings(kind="mlp")
    """Model, or a function of your own that builds one."""
    adapter: AdapterSettings = AdapterSettings()
    """What is trained: LoRA on some modules, and other parameters beside it."""
    ranks: RankSettings = RankSettings()
    """Range, budget and caps of the ranks."""
    allocator: Annotated[MethodSettings, _short("kind")] = MethodSettings(kind="autorank")
    """Rule that gives each client its ranks."""
    aggregator: Annotated[MethodSettings, _short("kind")] = MethodSettings(kind="anchored")
    """Rule that makes the next global model from the updates."""
    recipe: Literal["safe", "paper"] = "safe"
    """What the server's optimiser and `average` are where they are left out: `safe` as this table
    has them, `paper` `none` and 0, as methods were published. Left out, it is `safe` with
    `anchored`, and `paper` with every other aggregator.
    """
    server_optimizer: Annotated[MethodSettings, _short("kind")] = MethodSettings.model_validate(
        {"kind": "fedavgm", "momentum": 0.5}
    )
    """What the server does with the step from its model to the aggregated one."""
    head_init: Annotated[MethodSettings, _short("kind")] = MethodSettings(kind="auto")
    """Where a classifier's head starts; `auto` computes that of a new one from sums of features
    over the clients.
    """
    average: Share = 0.8
    """Share of the exported running mean that a round leaves; 0 exports the last model itself."""
    training: TrainingSettings = TrainingSettings()
    """Training of one client in one round."""
    probe: ProbeSettings = ProbeSettings()
    """How criteria are measured, and the noise that keeps label counts private."""
    pretrain: PretrainSettings | None = None
    """Training of the whole base on a public share of the data, before it is frozen."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """How often the global model is evaluated, and the accuracy that counts as reached."""

    @model_validator(mode="before")
    @classmethod
    def _by_recipe(cls, given: Any) -> Any:  # noqa: ANN401 - whatever came
        """Put defaults under what is written, so that writing one out changes nothing.

        Those of the recipe come before those at the fields. The options of a method that is a
        default are under that method alone, whether it is named or not.
        """
        if not isinstance(given, dict):
            return given
        fields = {name: field.default for name, field in cls.model_fields.items()}
        methods = {name: d for name, d in fields.items() if isinstance(d, MethodSettings)}
        usual = methods["aggregator"].kind
        named = _kind_of(given.get("aggregator", usual), usual)
        recipe = given.get("recipe", "safe" if named == usual else "paper")
        under: dict[str, Any] = {n: d.model_dump(exclude_none=True) for n, d in methods.items()}
        under |= RECIPES.get(recipe, {}) if isinstance(recipe, str) else {}
        over = {name: _over(given[name], under[name]) for name in under if name in given}
        return {"recipe": recipe, **under, **given, **over}

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
    def named_methods(self) -> list[tuple[str, Registry[Any], str]]:
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
