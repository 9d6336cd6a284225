"""The name of a federation as a person gives it. Torch-free."""

from pathlib import Path

from polyrank.errors import SettingsError
from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings
from polyrank.settings.trust import own_code

LOCAL = "local:"


def local_clients(federation: str) -> int:
    """Return how many clients ``local:N`` has.

    Raises:
        SettingsError: it is not of that form.
    """
    count = federation.removeprefix(LOCAL)
    if not federation.startswith(LOCAL) or not count.isdecimal() or int(count) < 1:
        raise SettingsError(
            f"federation {federation!r}: expected local:N with N clients, such as local:3, or the "
            "folder of an admin's kit"
        )
    return int(count)


def settings_on(settings: Settings, federation: str) -> Settings:
    """Return a run's settings for a federation: on ``local:N`` the data are split over N clients.

    Raises:
        SettingsError: there is no such federation, or the settings do not suit it.
    """
    if named := own_code(settings):
        names = ", ".join(f"{key} = {name!r}" for key, name in named)
        raise SettingsError(
            f"federation {federation!r}: hosts import and call PolyRank's own methods only, and "
            f"these settings name others: {names}"
        )
    if Path(federation).is_dir():
        return settings
    count = local_clients(federation)
    if settings.partition.clients in (count, None):  # None: the data say how many there are
        return settings
    document = settings.model_dump()
    document["partition"]["clients"] = count
    return make_settings(document, f"federation {federation}")
