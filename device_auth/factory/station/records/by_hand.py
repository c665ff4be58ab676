"""What a person changes in the ledger, each with a reason that is kept: a DSN burnt or moved, a lost station's name taken over."""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select, update

from device_auth.core.errors import WrongUse
from device_auth.factory.station.records import ledger
from device_auth.factory.station.records.databases import writing
from device_auth.factory.station.records.ledger import DsnRow, LedgerEntry
from device_auth.factory.station.records.push import post
from device_auth.factory.station.records.tables import (
    BLOCKED,
    BURNT,
    GIVEN,
    dsn,
    identity_event,
    station,
    unit,
)


@dataclass(frozen=True, slots=True)
class LedgerByHand:
    """The ledger, as a person changes it.

    Attributes:
        engine: of the database of all stations, or of a station's own file.
        is_shared: whether it is the first.
        entry: who, when and why.
    """

    engine: Engine
    is_shared: bool
    entry: LedgerEntry

    def burn(self, number: str) -> None:
        """Burn a DSN: it is never given, or never again.

        Raises:
            WrongUse: if it is burnt already.
        """
        with writing(self.engine) as connection:
            row = self._row(connection, number)
            if row.state == BURNT:
                raise WrongUse(f"the DSN {number} is burnt already", hint="Nothing was changed.")
            event = ledger.change(connection, row, BURNT, row.board, self.entry)
            self._post(connection, row, event)

    def move(self, number: str) -> str:
        """Take a DSN from its board, for the next one; return that board, which is scrapped.

        Raises:
            WrongUse: if no board has it.
        """
        with writing(self.engine) as connection:
            row = self._row(connection, number)
            event = ledger.move(connection, row, self.entry)
            self._post(connection, row, event)
            if not self.is_shared:
                post(connection, unit, row.board)
        return row.board

    def adopt(self) -> list[str]:
        """Let the next folder be a station, whose own was lost; return the DSNs that are burnt.

        What the lost folder gave and had not pushed yet is known to nobody: all that it could give is burnt.
        """
        name = self.entry.station_id
        with writing(self.engine) as connection:
            lost = connection.execute(
                select(dsn)
                .where(dsn.c.station_id == name, dsn.c.state.in_((BLOCKED, GIVEN)), dsn.c.moves == 0)
                .order_by(dsn.c.dsn)
                .with_for_update()
            ).all()
            for each in lost:
                row = DsnRow(*each)
                ledger.change(connection, row, BURNT, row.board, self.entry)
            # that of a new folder
            connection.execute(update(station).where(station.c.station_id == name).values(token=""))
        return [each.dsn for each in lost]

    def _row(self, connection: Connection, number: str) -> DsnRow:
        row = ledger.find(connection, number)
        if row is None:
            raise WrongUse("that DSN is not in the ledger", hint="Nothing was changed.")
        return row

    def _post(self, connection: Connection, row: DsnRow, event: str) -> None:
        if not self.is_shared:
            post(connection, dsn, row.dsn)
            post(connection, identity_event, event)
