"""The head as the model has it."""


def none() -> None:
    """Start from the head as it is: a new one is drawn from the seed."""
