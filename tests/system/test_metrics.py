"""The file for Prometheus beside a real service: there while it runs, true, and gone afterwards."""

import signal

from prometheus_client.parser import text_string_to_metric_families

from tests.daemon_process import Household
from tests.waiting import wait_for


def values(household: Household) -> dict[tuple[str, str], float]:
    """Return each sample's value by its name and its only label."""
    path = household.run / "metrics.prom"
    text = path.read_text() if path.exists() else ""
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_figures_follow_a_link_from_the_press_to_the_end(household: Household) -> None:
    household.write_settings("metrics = true\n")
    with household.living() as living:
        wait_for(lambda: values(household).get(("device_auth_state", "unlinked")) == 1, "it is not written")
        household.link(living)
        expiry = living.client.token().expires_at.timestamp()
        wait_for(lambda: values(household)["device_auth_state", "linked"] == 1, "the link is not told")
        now = values(household)
        assert now["device_auth_polls_total", "granted"] == 1
        assert now["device_auth_refreshes_total", "granted"] == 1
        assert now["device_auth_links_total", ""] == 1
        assert now["device_auth_saves_total", "stored"] >= 1
        assert abs(now["device_auth_token_expiry_timestamp_seconds", ""] - expiry) < 2
        assert b"Sim|" not in (household.run / "metrics.prom").read_bytes()
        assert living.end() == 0
    assert not (household.run / "metrics.prom").exists()


def test_there_is_no_file_unless_the_settings_ask_for_it_and_then_from_the_next_start_on(
    household: Household,
) -> None:
    with household.living() as living:
        living.wait_until("unlinked")
        household.write_settings("metrics = true\n")
        living.send(signal.SIGHUP)
        living.wait_until_told("metrics has changed, which counts from the next start on")
        assert not (household.run / "metrics.prom").exists()
        assert living.end() == 0
