"""The library transformers: quiet while it loads, with its errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from polyrank.errors import SettingsError

# said outright: left out, transformers asks the person at the terminal
NO_CODE = {"trust_remote_code": False}


@contextmanager
def loading(name: str) -> Iterator[Any]:
    """Give transformers, quiet while it loads, with its errors as ours."""
    try:
        import transformers
    except ImportError as error:
        raise SettingsError(
            f"model 'hf', {name}: needs the package 'transformers': pip install 'polyrank[hf]'"
        ) from error
    said = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield transformers
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(f"model 'hf', name = {name!r}: cannot be loaded: {error}") from error
    finally:
        transformers.logging.set_verbosity(said)
        if bars:
            transformers.logging.enable_progress_bar()


def padding_token(config: Any) -> int:  # noqa: ANN401 - transformers has a class for each model
    """Return the padding token; where the model knows none its end of text, or 0."""
    found = getattr(config, "pad_token_id", None)
    if found is None:
        found = getattr(config, "eos_token_id", None)
    if isinstance(found, list):
        found = found[0]
    return int(found or 0)
