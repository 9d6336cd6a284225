"""Models that can be adapted, by name, or one's own ``"my_package:make_model"``.

An entry is a function that returns a ``torch.nn.Module`` taking a float batch and giving
logits (n, classes). It may ask for ``input_shape`` and ``classes``, which come from the
data; its other keyword-only parameters are options of the settings file. A factory of
pre-trained models says more of them with ``@pretrained``.
"""

from polyrank.models.factory import FROM_DATA, ModelFactory
from polyrank.registry import Registry

__all__ = ["FROM_DATA", "MODELS", "ModelFactory"]

MODELS: Registry[ModelFactory] = Registry(
    "model",
    {
        "mlp": "polyrank.models.mlp:mlp",
        "cnn": "polyrank.models.cnn:cnn",
        "hf": "polyrank.models.hf:hf",
    },
    group="polyrank.models",
    make=ModelFactory,
)
