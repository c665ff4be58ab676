"""The identity of the unit: the file in the state folder that the factory writes once, and that every wipe keeps."""

from pathlib import Path

from device_auth.factory.talk import IdentityEvent
from device_auth.world.places import Places
from device_auth.world.settings import IDENTITY, SettingsFiles, read_settings


def identity_file(places: Places) -> Path:
    """Return the file that holds the identity, or would."""
    return places.state_dir / IDENTITY


def read_identity(places: Places) -> IdentityEvent | None:
    """Return the identity of the unit, or None if it has none.

    Raises:
        ConfigError: if the file cannot be read, or is not an identity.
    """
    if places.files.identity is None:
        return None
    settings = read_settings({}, SettingsFiles(identity=places.files.identity), {})
    others = {name: settings.identity.get(name) for name in ("part", "revision", "batch")}
    return IdentityEvent(
        dsn=settings.dsn,
        product_id=settings.product_id or None,
        client_id=settings.client_id or None,
        part_number=others["part"],
        revision=others["revision"],
        batch=others["batch"],
    )
