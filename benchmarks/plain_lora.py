"""What one client does in ``beside_flower.py``: LoRA of one rank by PEFT, in a plain loop."""

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

CLIENTS, EPOCHS, BATCH, RANK, RATE = 10, 2, 16, 8, 0.001
State = dict[str, Tensor]


@cache
def made() -> tuple[torch.nn.Module, State, list[tuple[Tensor, Tensor]]]:
    """Return a PEFT model, its trainable tensors by name, and each client's rows."""
    # Here, so that whoever wants the constants alone does not wait for them.
    from peft import LoraConfig, inject_adapter_in_model

    from polyrank.datasets import load
    from polyrank.models import MODELS
    from polyrank.registry import Named

    data = load("digits", seed=0)
    x = torch.from_numpy(data.train_x).float().reshape(len(data.train_x), 1, 8, 8) / 16
    y = torch.from_numpy(data.train_y)
    rows = torch.randperm(len(y), generator=torch.Generator().manual_seed(0)).chunk(CLIENTS)
    model = MODELS.build(Named("mlp", {"hidden": [200, 200]})).model((1, 8, 8), 10, 0)
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["fc1", "fc2", "fc3"])
    model = inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name.endswith("bias"))
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return model, trained, [(x[r], y[r]) for r in rows]


def train(client: int, state: Mapping[str, Tensor]) -> tuple[State, int]:
    """Train one client from a state; return what it comes to, and its rows."""
    model, trained, rows = made()
    with torch.no_grad():
        for name, tensor in state.items():
            trained[name].copy_(tensor)
    x, y = rows[client]
    optimizer = torch.optim.Adam(trained.values(), RATE, fused=True)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(y)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return {n: p.detach().clone() for n, p in trained.items()}, len(y)
