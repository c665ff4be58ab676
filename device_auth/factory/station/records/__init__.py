"""What a station keeps of each run and of each DSN: its own file, the database of all stations, and what people read of them.

All of it needs the extra ``factory``; without it, importing this says how to install it.
"""

from contextlib import suppress
from importlib.util import find_spec

from device_auth.core.errors import ConfigError

for needed in ("sqlalchemy", "alembic", "psycopg"):
    with suppress(ModuleNotFoundError):
        if find_spec(needed) is not None:
            continue
    from device_auth.installation import how_to_install

    raise ConfigError(
        f"the station's records need the Python package {needed}, which is not installed",
        hint=how_to_install(needed),
    )
