"""The library transformers: quiet while it loads, with its errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from polyrank.errors import SettingsError
from polyrank.hub import offline_where_it_cannot_be_reached

NOT_REACHED = (
    "there is no such folder, the hub cannot be reached from here, and nothing of that name was "
    "downloaded before: give a folder that save_pretrained wrote, or, where it can be reached, "
    "fetch it with hf download"
)
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
    before = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    offline = False
    try:
        with offline_where_it_cannot_be_reached(name) as offline:
            yield transformers
    except (OSError, ValueError, KeyError) as error:
        said = NOT_REACHED if offline and isinstance(error, OSError) else error
        raise SettingsError(f"model 'hf', name = {name!r}: cannot be loaded: {said}") from error
    finally:
        transformers.logging.set_verbosity(before)
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
