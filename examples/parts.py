"""Only the parts: criteria to ranks, and adapters of unequal rank to one, on plain arrays.

python examples/parts.py
"""

import numpy as np
import torch

from polyrank import aggregate_adapters, autorank
from polyrank.allocators import Budget, Evidence, Limits, ModuleRange, reasons
from polyrank.lora.factors import Factors, prefix

evidence = Evidence(
    clients=["clinic", "hospital", "lab"],
    criteria={
        "label_entropy": np.array([0.4, 2.1, 1.3]),
        "sample_count": np.array([120.0, 5200.0, 900.0]),
    },
)
limits = Limits({"q_proj": ModuleRange(2, 16, slot_parameters=768 + 768)}, Budget("mean_rank", 8))
choice = autorank(evidence, limits)
for client, rank, why in zip(
    evidence.clients, choice.ranks["q_proj"], reasons(choice), strict=True
):
    print(f"{client:<10} rank {rank:>2}  {why}")

torch.manual_seed(0)
updates = [
    ({"q_proj": Factors(torch.randn(rank, 768), torch.randn(768, rank), prefix(rank))}, examples)
    for rank, examples in zip(choice.ranks["q_proj"].tolist(), (120, 5200, 900), strict=True)
]
server = {"q_proj": Factors(torch.zeros(16, 768), torch.zeros(768, 16), prefix(16))}
merged = aggregate_adapters("rbla", updates, server).adapter["q_proj"]
print(f"merged a {tuple(merged.a.shape)}, b {tuple(merged.b.shape)}")
