"""`/metrics`: the names that dashboards rely on, with figures that move."""

import pytest

from support.scene import replay
from support.wait import until

SERIES = [
    'explaind_source_up{source="recorded"}',
    'explaind_samples_total{quality="good",source="recorded"}',
    'explaind_predictions_total{asset="press-7",model="press-failure",outcome="predicted"}',
    "explaind_inference_seconds_count",
    "explaind_explanation_seconds_count",
    'explaind_buffer_records{stream="predictions"}',
    'explaind_buffer_records{stream="alerts"}',
    "explaind_buffer_bytes",
    'explaind_buffer_written_bytes_total{part="store"}',
    'explaind_buffer_written_bytes_total{part="journal"}',
    'explaind_buffer_written_bytes_total{part="side"}',
    "explaind_buffer_appended_records_total",
    "explaind_buffer_appended_bytes_total",
    "explaind_disk_written_bytes_total",
    'explaind_sync_lag_seconds{stream="predictions"}',
    'explaind_alerts{priority="high",state="unacknowledged"}',
    'explaind_alarms_last_hour{asset="press-7"}',
]


@pytest.fixture
def gateway(daemon, bundle, tmp_path):
    """A gateway with one replayed machine that alarms."""
    return daemon(replay(tmp_path, bundle("ai4i-gbt")))


def test_every_figure_is_there_and_moves(gateway):
    """Within seconds of the first alert all series exist and are above zero, where zero is not the good news."""
    may_be_zero = ("explaind_sync_lag_seconds",)

    def complete():
        figures = gateway.metrics()
        for series in SERIES:
            assert series in figures, f"{series} is missing among {sorted(figures)}"
            assert figures[series] > 0 or series.startswith(may_be_zero), f"{series} is {figures[series]}"
        return figures

    first = until(complete, "all series")
    samples = 'explaind_samples_total{quality="good",source="recorded"}'
    until(lambda: gateway.metrics()[samples] > first[samples], "samples to go on being counted")


def test_figures_agree_with_the_records(gateway):
    """What is counted as predicted is what the buffer keeps: looked at before and after, the status lies between."""
    until(lambda: len(gateway.predictions()) >= 5, "five predictions")
    predicted = 'explaind_predictions_total{asset="press-7",model="press-failure",outcome="predicted"}'
    before = gateway.metrics()[predicted]
    streams = {stream["stream"]: stream for stream in gateway.get("status")["buffer"]["streams"]}
    after = gateway.metrics()[predicted]
    assert before <= streams["predictions"]["records"] <= after
    assert streams["predictions"]["records"] == streams["predictions"]["last"], "none was evicted"


def test_figures_need_no_sign_in_but_hold_no_secret(gateway):
    """A scraper on this machine needs no account; it learns no names of people and no values."""
    until(lambda: gateway.predictions(1), "a prediction")
    figures = " ".join(gateway.metrics())
    assert "technician" not in figures
    assert "Torque" not in figures
