from pathlib import Path

from device_auth.factory.station.records.spool import StationRecords
from device_auth.factory.station.run_record import DsnRule, Product, RunRecord
from device_auth.factory.talk import RunOutcome


def test_the_last_outcome_of_each_golden_unit_counts(tmp_path: Path) -> None:
    moment = [1000.0]
    product = Product("kitchen")
    records = StationRecords(tmp_path, "station-1", DsnRule("kitchen"), wall=lambda: moment[0], spare=0)

    def run(dsn: str, outcome: RunOutcome, *, at: float, is_golden: bool = True) -> None:
        moment[0] = at
        start = records.begin(slot="one", product=product, is_golden=is_golden)
        records.save(RunRecord(start, dsn, "", 0, 1.0, outcome))

    run("GOOD1", RunOutcome.PASS, at=1000)
    run("BAD01", RunOutcome.PASS, at=2000)
    run("BAD01", RunOutcome.FAIL, at=3000)
    run("KS0001", RunOutcome.PASS, at=3000, is_golden=False)

    assert records.golden_outcomes(0) == {"GOOD1": RunOutcome.PASS, "BAD01": RunOutcome.FAIL}
    assert records.golden_outcomes(1_500_000) == {"BAD01": RunOutcome.FAIL}
    records.close()
