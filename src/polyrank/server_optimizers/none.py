"""The aggregated model is the next model."""


def none() -> None:
    """Take the aggregated model as it is."""
