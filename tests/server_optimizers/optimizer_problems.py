"""Rules, methods and models that the tests of server optimisers share."""

import torch

from polyrank.aggregators import AGGREGATORS
from polyrank.aggregators.aggregator import ServerModel
from polyrank.lora.factors import Factors, prefix
from polyrank.registry import Named
from polyrank.server_optimizers import SERVER_OPTIMIZERS

D_IN, D_OUT, SLOTS = 5, 7, 5


def optimizer(name, **options):
    return SERVER_OPTIMIZERS.build(Named(name, options))


def aggregator(name):
    return AGGREGATORS.build(name)


def model(seed, *, base=None):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(SLOTS, D_IN, generator=generator, dtype=torch.float64)
    b = torch.randn(D_OUT, SLOTS, generator=generator, dtype=torch.float64)
    bias = torch.randn(3, generator=generator, dtype=torch.float64)
    extras = {"bias": bias, "count": torch.tensor(seed)}
    return ServerModel({"fc": Factors(a, b, prefix(SLOTS))}, extras, base)
