"""Load the data that settings name, and split it as they say. Torch-free."""

from polyrank import datasets
from polyrank.datasets import Data
from polyrank.partitioners import PARTITIONERS
from polyrank.partitioners.splits import Splits, split
from polyrank.settings.schema import Settings


def load_split(settings: Settings) -> tuple[Data, Splits]:
    """Load the data and split it as the settings say.

    Raises:
        DataError: the data cannot be used.
        SettingsError: an option does not fit, or there are fewer clients than a round takes.
    """
    source = settings.data
    data = datasets.load(
        source.source, seed=settings.seed, test=source.test, options=source.options
    )
    splits = split(
        data,
        PARTITIONERS.build(settings.partition),
        clients=settings.partition.clients,
        public=settings.pretrain.share if settings.pretrain else 0.0,
        validation=source.validation,
        client_test=source.client_test,
        seed=settings.seed,
    )
    settings.check_cohort(len(splits.clients))
    return data, splits
