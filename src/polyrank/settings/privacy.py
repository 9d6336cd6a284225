"""Refuse settings that would send anything without the noise that ``probe.epsilon`` asks for."""

from polyrank.allocators import ALLOCATORS
from polyrank.criteria import without_noise
from polyrank.errors import SettingsError
from polyrank.settings.schema import Settings


def check_epsilon(settings: Settings) -> None:
    """Check that with noise on the counts nothing else is measured of a client. Torch-free.

    Raises:
        SettingsError: the allocator reads a criterion of losses or tokens, or spectra.
    """
    if settings.probe.epsilon is None:
        return
    needs = ALLOCATORS.build(settings.allocator).needs
    if needs.spectra:
        raise SettingsError(
            f"allocator {settings.allocator.kind!r} is sent how the inputs of each client's "
            "modules vary, and probe.epsilon puts noise on label counts alone; leave one of the "
            "two out"
        )
    open_ones = without_noise(settings.criteria) if needs.criteria else []
    if open_ones:
        left = [name for name in settings.criteria if name not in open_ones]
        raise SettingsError(
            f"criteria: {', '.join(open_ones)} would leave the client as measured, and "
            f"probe.epsilon puts noise on label counts alone; expected criteria of counts, such "
            f"as criteria = {left or ['label_entropy', 'sample_count']}"
        )
