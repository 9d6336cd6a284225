"""The settings of a run, as checked types.

Torch-free. The options of methods (a partitioner's concentration, a model's widths) stand
beside the method's name and are checked against its signature by ``polyrank.registry``.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
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
from polyrank.lora.shapes import Compression
from polyrank.models import MODELS
from polyrank.partitioners import PARTITIONERS
from polyrank.registry import Registry
from polyrank.server_optimizers import SERVER_OPTIMIZERS
from polyrank.settings.tables import (
    NAMED,
    AdapterSettings,
    DataSettings,
    MethodSettings,
    PartitionSettings,
    RankSettings,
    Share,
    Strict,
)
from polyrank.settings.training import (
    EvaluationSettings,
    PretrainSettings,
    ProbeSettings,
    TrainingSettings,
)

RECIPES: Mapping[str, Mapping[str, Any]] = {  # where they differ from the defaults at the fields
    "safe": {},
    "paper": {
        "server_optimizer": {"kind": "none"},
        "average": 0.0,
        "training": {"clip_norm": 0.0},
    },
}
WIDE = {"r_min": 1, "r_max": 64}  # ranks that are found by need
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
    if isinstance(given, str) and isinstance(default, Mapping) and "kind" in default:
        given = {"kind": given}
    if not isinstance(given, Mapping) or not isinstance(default, Mapping):
        return given
    same = given.get("kind", default.get("kind")) == default.get("kind")
    return {**default, **given} if same else given


class Settings(Strict):
    """All settings of a run."""

    name: Annotated[str, AfterValidator(_as_folder)] = "run"
    """Name of the run and of its folder; left out, the settings file's name without `.toml`."""
    seed: int = 0
    """Root of every random stream: with the same seed a run on one machine has the same bits."""
    rounds: PositiveInt = 20
    """Rounds in all."""
    workers: PositiveInt | Literal["auto"] = "auto"
    """Processes that train clients, of one thread each; the result is the same for any number.
    `auto` begins with one, and goes on with one for each processor and client of a round if the
    rest of the run is long enough to gain by it; with a GPU it stays with one.
    """
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
    trackers: list[Literal["tensorboard", "wandb", "mlflow"]] = Field(default=[])
    """Experiment trackers to log to; TensorBoard needs `polyrank[track]`, others their packages."""
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
    profile: list[Literal["examples", "label_counts"]] = Field(default=["examples", "label_counts"])
    """What each client tells of its data before round 1: how many examples it has to train on and
    to test on, and how many of each label, with noise if `probe.epsilon` asks for it. Without
    `examples`, models are not evaluated on the clients' own test rows.
    """
    compression: Compression = "none"
    """How factors and heads travel, both ways: `none`, as they are, or `int8`, in eight bits with
    one scale a slot. What rounding loses of an update a client adds to its next one.
    """
    base: str = "random"
    """Frozen weights: `random`, as the model is built, or a safetensors file of its state."""
    init_adapter: str | None = None
    """PEFT folder whose adapter fills the first slots at the start; left out, LoRA's own start."""
    criteria: list[Annotated[str, NAMED]] = Field(
        default=["label_entropy", "gini_simpson", "label_count", "sample_count"]
    )
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
    """What the server's optimiser, `average` and `training.clip_norm` are where they are left out:
    `safe` as these tables have them, `paper` `none`, 0 and 0, as methods were published. Left out,
    it is `safe` with `anchored`, and `paper` with every other aggregator.
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

        Those of the recipe come before those at the fields, and ranks that are found by need have a
        wider range. The options of a method that is a
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
        ranks = given.get("ranks", {})
        if _kind_of(given.get("allocator"), "") == "need" and isinstance(ranks, Mapping):
            given = {**given, "ranks": {**WIDE, **ranks}}
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
    def named_methods(self) -> list[tuple[str, Registry[object], str]]:
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
