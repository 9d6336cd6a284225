"""Load the data that settings name, and split it as they say. Torch-free."""

from polyrank import datasets
from polyrank.datasets import Data
from polyrank.datasets.data import with_test
from polyrank.partitioners import PARTITIONERS
from polyrank.partitioners.splits import Splits, split
from polyrank.settings.schema import Settings


def load_own(settings: Settings, given: Data | None) -> Data:
    """Load the data, or take what was handed over, and see to it that there is a test part.

    Raises:
        DataError: the data cannot be used, or were handed over to the run and are not here.
        SettingsError: an option does not fit.
    """
    source, seed = settings.data, settings.seed
    if given is not None:
        return with_test(given, source.test, seed)
    return datasets.load(source.source, seed=seed, test=source.test, options=source.options)


def load_split(settings: Settings, given: Data | None = None) -> tuple[Data, Splits]:
    """Load the data and split it as the settings say.

    Args:
        settings: of the run.
        given: data that were handed over in Python; None to load what the settings name.

    Raises:
        DataError: the data cannot be used.
        SettingsError: an option does not fit, or there are fewer clients than a round takes.
    """
    source = settings.data
    data = load_own(settings, given)
    splits = split(
        data,
        PARTITIONERS.build(settings.partition),
        clients=settings.partition.clients,
        public=settings.pretrain.share if settings.pretrain else 0.0,
        validation=source.validation if settings.evaluation.held_by == "server" else 0.0,
        client_test=source.client_test,
        seed=settings.seed,
    )
    settings.check_cohort(len(splits.clients))
    return data, splits
