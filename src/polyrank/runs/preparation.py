"""From settings to what server and clients start from: data, split, frozen base."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from polyrank.client.site import Site
from polyrank.datasets import Data
from polyrank.datasets.columns import Columns
from polyrank.engines.crew import Crew
from polyrank.errors import SettingsError
from polyrank.inputs.arrays import Encoded, ExampleSet, RowView
from polyrank.inputs.column_sums import column_sums
from polyrank.learning.adapting import trained_parts
from polyrank.learning.blueprint import Blueprint
from polyrank.learning.forward import choose_device
from polyrank.learning.training import fit
from polyrank.lora.alignment import all_aligned
from polyrank.lora.factors import Adapter, Factors, Tensors, start_factors
from polyrank.lora.shapes import ModuleShape
from polyrank.models import MODELS
from polyrank.models.input_scaling import add_scaling, has_scaling, scaling_tensors
from polyrank.models.packed import count_numbers
from polyrank.models.weights import put_weights, read_weights
from polyrank.partitioners.splits import Splits
from polyrank.peft_bridge import (
    find_extras,
    place_adapter,
    place_saved,
    read_adapter,
    read_saved,
)
from polyrank.runs.base import is_published
from polyrank.runs.encoding import check_labels, check_several, cut_texts, encode
from polyrank.runs.loading import load_split
from polyrank.runs.packed_base import check_packed
from polyrank.seeding import derive, numpy_stream
from polyrank.server.examiner import ServerRows
from polyrank.settings.ranges import module_ranges, scalings
from polyrank.settings.schema import Settings
from polyrank.settings.training import TrainingSettings

MOST_FOR_CUTS = 1000  # rows on which every cut of a model is judged


@dataclass(frozen=True)
class ServerSide:
    """What the server of a run starts from; of the clients' data there is nothing in it.

    Args:
        blueprint: of the model.
        rows: its own validation and test rows, and the validation rows for cut models.
        shapes: the adapted modules.
        extras: the extras of the base model.
        buffers: those of them that are statistics, such as batch norm's, and no parameters.
        label_names: by label.
        columns: what the inputs are, if they are those of a table.
        numbers: places of the inputs that are scaled by sums over the clients; () for none.
        drawn: names of a pre-trained model's weights that nothing has given a value but the seed;
            empty if the base was known already.
        texts: how many texts there are and how many were cut at ``max_length`` tokens; None
            where the examples are no texts.
        fingerprint: of the data that the run begins with, to notice other data on resume.
    """

    blueprint: Blueprint
    rows: ServerRows
    shapes: Mapping[str, ModuleShape]
    extras: Tensors
    buffers: frozenset[str]
    label_names: Sequence[str]
    columns: Columns | None
    numbers: tuple[int, ...]
    drawn: Sequence[str]
    texts: Mapping[str, int] | None
    fingerprint: str

    @property
    def base_parameters(self) -> int:
        """Numbers in the base model."""
        return count_numbers(self.blueprint.base)


@dataclass(frozen=True)
class Prepared:
    """Both sides of a federation whose data lie on this machine.

    Args:
        server: what the server has.
        sites: client -> what it has.
        store: folder for what clients keep, or None.
    """

    server: ServerSide
    sites: Mapping[str, Site]
    store: Path | None

    @property
    def crew(self) -> Crew:
        """All that a process needs to stand in for any client, or for the server."""
        return Crew(self.server.blueprint, self.sites, self.store, self.server.rows)


def prepare(
    settings: Settings,
    store: Path | None,
    base: Tensors | None = None,
    start: Adapter | None = None,
    cache: Path | None = None,
    given: Data | None = None,
) -> Prepared:
    """Load the data, make the frozen base, and give each side what is its own.

    Args:
        settings: of the run.
        store: folder for what clients keep, or None.
        base: the frozen base if it is known already, as it is on resume.
        start: what became of ``init_adapter``, if it is known already.
        cache: folder for tokenised texts, or None.
        given: data that were handed over in Python.

    Raises:
        SettingsError: the settings do not fit the data or the model.
        DataError: the data cannot be used.
    """
    data, splits = load_split(settings, given)
    encoded = encode(settings, data.train_x, data.train_y, cache)
    tested = encode(settings, data.test_x, data.test_y, cache)
    check_labels(data, encoded.examples)
    check_several(data, encoded.examples)
    validation, public = (torch.from_numpy(rows) for rows in (splits.validation, splits.public))
    server = server_side(settings, data, (encoded, tested), validation, public, base, start)
    return Prepared(server, sites_of(settings, splits, encoded.examples), store)


def server_side(
    settings: Settings,
    data: Data,
    encoded: tuple[Encoded, Encoded],
    validation: Tensor,
    public: Tensor,
    base: Tensors | None,
    start: Adapter | None,
) -> ServerSide:
    """Make the server's side of a run of its data.

    Args:
        settings: of the run.
        data: of the server.
        encoded: their training and test part, as the model takes them.
        validation: training rows that choose the best round.
        public: training rows on which the base is trained.
        base: the frozen base if it is known already, as it is on resume.
        start: what became of ``init_adapter``, if it is known already.
    """
    if data.columns and settings.data.normalise:
        raise SettingsError(
            "data.normalise: the numbers of a table are scaled by sums over the clients, or not at "
            "all (data.scale = false); leave it out"
        )
    train, test = (part.examples for part in encoded)
    classes = len(data.label_names)
    factory = MODELS.build(settings.model)
    drawn: Sequence[str] = ()
    numbers: tuple[int, ...] = ()
    if base is None:
        model = factory.model(train.input_shape, classes, derive(settings.seed, "base"))
        numbers = make_base(model, settings, train, public, data.columns)
        drawn = _drawn(settings, model)
    else:
        model = factory.shell(train.input_shape, classes)
        put_weights(model, base)
    parts = trained_parts(settings, model)
    _check_modules(settings, parts.shapes)
    if settings.init_adapter and start is None:
        start = first_adapter(settings, parts.shapes)
    weights = all_aligned(read_weights(model))
    extras = find_extras(model, parts.shapes, parts.extras)
    return ServerSide(
        blueprint=Blueprint(settings, weights, train.input_shape, classes, start),
        rows={
            "validation": RowView(train, validation),
            "test": RowView(test, torch.arange(len(test))),
            "cuts": RowView(train, torch.from_numpy(_some(validation.numpy(), settings.seed))),
        },
        shapes=parts.shapes,
        extras=extras,
        buffers=frozenset(extras.keys() & dict(model.named_buffers()).keys()),
        label_names=data.label_names,
        columns=data.columns,
        numbers=numbers,
        drawn=drawn,
        texts=cut_texts(*encoded),
        fingerprint=fingerprint(data),
    )


def sites_of(settings: Settings, splits: Splits, train: ExampleSet) -> dict[str, Site]:
    """Give each simulated client its rows, and a secret that is drawn so that runs repeat."""
    return {
        client.name: Site(
            RowView(train, torch.from_numpy(client.train)),
            RowView(train, torch.from_numpy(client.test)),
            secret=derive(settings.seed, "count noise", client.name),
            tells=frozenset(settings.profile),
        )
        for client in splits.clients
    }


def first_adapter(settings: Settings, shapes: Mapping[str, ModuleShape]) -> dict[str, Factors]:
    """Start every module with new factors, with as many slots as the largest rank.

    With ``init_adapter``, its slots come first.

    Raises:
        AdapterError: that adapter does not fit.
    """
    ranges, form = module_ranges(settings, shapes), settings.adapter.parametrisation
    adapter = {
        name: start_factors(
            (shape.d_in, shape.d_out), ranges[name].r_max, settings.seed, name, parametrisation=form
        )
        for name, shape in shapes.items()
    }
    if settings.init_adapter:
        rules = scalings(settings, shapes)
        scaling = {name: rule.server for name, rule in rules.items()}
        given = read_adapter(Path(settings.init_adapter), scaling)
        adapter = place_adapter(given, adapter)
    return adapter


def first_extras(settings: Settings, extras: Tensors) -> Tensors:
    """Return the extras of the base, those that ``init_adapter`` saved in full in place."""
    if not settings.init_adapter:
        return extras
    return place_saved(read_saved(Path(settings.init_adapter)), extras)


def make_base(
    model: nn.Module,
    settings: Settings,
    train: ExampleSet,
    public: Tensor,
    columns: Columns | None,
) -> tuple[int, ...]:
    """Make the base what the settings say: left as it is, read from a file, or pre-trained.

    A model for tables scales its inputs: as the file says, or as the public rows say on which
    it is pre-trained.

    Returns:
        the places of the inputs by whose scaling the clients are still to be asked.

    Raises:
        SettingsError: the file does not fit the model, or packed weights what is to be done, or
            sums would leave clients whose counts get noise.
    """
    if settings.base != "random":
        _read_base(model, settings.base)
    check_packed(settings, model)
    numbers = columns.numbers if columns and columns.scaled and not has_scaling(model) else ()
    if columns:
        add_scaling(model, len(columns.names))
    if numbers and not settings.pretrain and settings.probe.epsilon is not None:
        raise SettingsError(
            "data.scale: sums of columns would leave the clients as they are, and probe.epsilon "
            "puts noise on label counts alone; expected data.scale = false, or pretrain.share, "
            "whose public rows then say how numbers are scaled"
        )
    if not settings.pretrain:
        return numbers
    if numbers and len(public):
        sums = column_sums(train, public, torch.tensor(numbers))
        scaling = scaling_tensors(train.input_shape[0], numbers, *sums.mean_and_deviation())
        model.load_state_dict(scaling, strict=False)
    _pretrain(model, settings, train, public)
    return ()


def _some(rows: np.ndarray, seed: int) -> np.ndarray:
    """Draw ``MOST_FOR_CUTS`` of sorted rows, whose first ones may all be of one label."""
    if len(rows) <= MOST_FOR_CUTS:
        return rows
    rng = numpy_stream(seed, "cuts", "rows")
    return np.sort(rng.choice(rows, MOST_FOR_CUTS, replace=False))


def _drawn(settings: Settings, model: nn.Module) -> list[str]:
    """Name the weights of a pre-trained model that neither it nor the settings have given."""
    about = MODELS.build(settings.model).pretrained
    if about is None or not is_published(settings):
        return []
    given = read_saved(Path(settings.init_adapter)) if settings.init_adapter else {}
    return sorted({*about.drawn(model)} - given.keys())


def fingerprint(data: Data) -> str:
    """Return a hash of all examples, by which a changed data set is noticed on resume."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (data.train_x, data.train_y, data.test_x, data.test_y):
        if array.dtype == object:
            digest.update(repr(array.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read_base(model: nn.Module, path: str) -> None:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SettingsError(
            f"base = {path!r}: expected a file of safetensors, which save_file of "
            f"safetensors.torch writes; it cannot be read as one: {error}"
        ) from error
    try:
        put_weights(model, weights)
    except SettingsError as error:
        raise SettingsError(f"base = {path!r}: does not fit the model: {error}") from error


def _pretrain(model: nn.Module, settings: Settings, train: ExampleSet, public: Tensor) -> None:
    chosen = settings.pretrain
    assert chosen is not None
    training = TrainingSettings(
        optimizer="adam", epochs=chosen.epochs, batch_size=chosen.batch_size
    )
    device = choose_device(settings.device)
    model.to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(settings.seed, "torch", "pretrain"))
        generator = torch.Generator().manual_seed(derive(settings.seed, "batches", "pretrain"))
        parameters = list(model.parameters())
        fit(model, parameters, train, public, training, chosen.learning_rate, generator)
    model.to("cpu")


def _check_modules(settings: Settings, shapes: Mapping[str, ModuleShape]) -> None:
    named = {"ranks": {*settings.ranks.modules}, "adapter": {*settings.adapter.modules}}
    for key, names in named.items():
        if unknown := sorted(names - shapes.keys()):
            raise SettingsError(
                f"{key}.modules: {unknown[0]!r} is not adapted; the adapted modules are "
                f"{', '.join(shapes)}"
            )
