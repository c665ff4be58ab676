"""The token files: the access token for programs that read a file, in memory-backed storage only.

They lie in the runtime folder, never in the state folder: an access token lives an hour, and a card wears out.
The group of the process can read them (0640); they are replaced by rename, so that no reader sees half a token.
"""

import logging
from datetime import datetime
from pathlib import Path
from typing import Final

from device_auth.core.models import Secret, TokenGrant, UnixTime
from device_auth.core.ports import Clock
from device_auth.core.public import rfc3339
from device_auth.core.values import dataclass
from device_auth.world.explain import explain, store_error
from device_auth.world.fields import MAX_BYTES, Malformed, read_fields, write_fields
from device_auth.world.files import RUNTIME_MODE, Folder, beside_of

logger = logging.getLogger(__name__)

TOKEN: Final = "token.json"  # noqa: S105 - the name of a file
BARE: Final = "access-token"
FILE_MODE: Final = 0o640


@dataclass(frozen=True, slots=True)
class PublishedToken:
    """The access token that programs may read, and its end."""

    access_token: Secret
    expires_at: UnixTime


class FileTokens:
    """Hands out the access token in the runtime folder.

    Args:
        directory: the runtime folder, made when first needed; None if there is none: then there are no token files.
        clock: turns the deadline into a time of day.
        keep_bare: whether to keep the bare token (``access-token``) too; only for a process that keeps it fresh.
    """

    def __init__(self, directory: Path | None, clock: Clock, *, keep_bare: bool = False) -> None:
        self._directory = directory
        self._clock = clock
        self._keep_bare = keep_bare

    def publish(self, grant: TokenGrant) -> None:
        """Replace the token files by this grant's access token."""
        if self._directory is None:
            return
        token = grant.access_token.reveal()
        ends = self._clock.wall() + grant.expires_at - self._clock.now()
        content = write_fields(
            {
                "access_token": token,
                "token_type": "bearer",
                "expires_at": rfc3339(UnixTime(ends)),
            }
        )
        try:
            with Folder.open_to_write(self._directory, RUNTIME_MODE) as folder:
                folder.replace(TOKEN, content, FILE_MODE)
                if self._keep_bare:
                    folder.replace(BARE, token.encode(), FILE_MODE)
                else:
                    # one that a service left behind is older than this token
                    folder.remove(BARE)
        except OSError as error:
            logger.warning("%s", store_error(f"cannot write token files to {self._directory}", error))

    def read(self) -> PublishedToken | None:
        """Return the access token, or None if there is none that is known to be valid.

        A wall clock earlier than the file's own date is not believed, and then no token is valid.
        """
        if self._directory is None:
            return None
        try:
            with Folder.open(self._directory) as folder:
                found = folder.read(TOKEN, MAX_BYTES + 1)
            if found is None:
                return None
            content, written_at = found
            fields = read_fields(content)
            ends = _read_time(fields.text("expires_at"))
            token = Secret(fields.filled_text("access_token"))
        except (OSError, Malformed):
            return None
        wall = self._clock.wall()
        return PublishedToken(token, UnixTime(ends)) if written_at <= wall < ends else None

    def withdraw(self) -> None:
        """Remove the token files."""
        if self._directory is None:
            return
        try:
            with Folder.open(self._directory) as folder:
                for name in (BARE, TOKEN):
                    folder.remove(name)
                    folder.remove(beside_of(name))
        except FileNotFoundError:
            return
        except OSError as error:
            logger.warning("%s", explain("cannot remove the token files", error))


def _read_time(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Malformed("expires_at is not a time") from None
    if moment.tzinfo is None:
        raise Malformed("expires_at has no time zone")
    return moment.timestamp()
