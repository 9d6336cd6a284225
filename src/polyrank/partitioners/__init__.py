"""Rules that split one data set into clients.

A partitioner is ``partition(rows, clients, rng, **options)``: it gets the labels (and
groups) of the rows, the number of clients and a generator, and returns one sorted array of
row indices per client. No row is given twice; every row is given, except by ``natural``
when it is asked to drop small groups.
"""

from polyrank.partitioners.rows import Partition, Rows
from polyrank.registry import Found, Registry

PARTITIONERS: Registry[Partition] = Registry(
    "partitioner",
    {
        "iid": "polyrank.partitioners.iid:iid",
        "dirichlet": "polyrank.partitioners.dirichlet:dirichlet",
        "pathological": "polyrank.partitioners.pathological:pathological",
        "staircase": "polyrank.partitioners.staircase:staircase",
        "double_imbalance": "polyrank.partitioners.double_imbalance:double_imbalance",
        "natural": "polyrank.partitioners.natural:natural",
    },
    group="polyrank.partitioners",
    make=Found.bound,
)

__all__ = ["PARTITIONERS", "Partition", "Rows"]
