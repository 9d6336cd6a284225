"""The tables of the settings that say how models are trained, measured and evaluated."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from polyrank.settings.tables import Strict


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
    clip_norm: NonNegativeFloat = 10.0
    """Largest Euclidean norm of the gradient; a larger one is scaled down. 0: none is."""
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
    held_by: Literal["server", "clients"] = "server"
    """Whose rows choose the best round: validation rows of the server, or test rows of all clients,
    which are sent the model and tell counts that are added up. The server then keeps none.
    """
