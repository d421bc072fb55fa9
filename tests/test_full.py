"""A registry that is away for so long that the buffer fills, and then comes back."""

from support import paths
from support.daemon import Daemon
from support.wait import until


def predictions_of(status: dict) -> dict:
    """The figures of the predictions' stream."""
    return next(stream for stream in status["buffer"]["streams"] if stream["stream"] == "predictions")


def test_a_buffer_that_was_full_empties_and_goes_on(tmp_path):
    """Predictions are refused while it is full, and all that were kept reach the registry once it is back."""
    text = paths.DEMO.read_text().replace('"demo/', f'"{paths.DEMO.parent}/demo/').replace('"200ms"', '"2ms"')
    gateway = Daemon(tmp_path, text, EXPLAIND__BUFFER__MAX_BYTES="1MiB", EXPLAIND__SYNC__BATCH_AGE="500ms")
    # A registry cannot be where a file is.
    gateway.registry.write_text("in the way")
    gateway.start()
    try:
        full = until(
            lambda: gateway.get("status") if gateway.get("status")["buffer"]["full"] else None, "a full buffer", 60
        )
        # Long enough for alerts to come and go while predictions are refused, and to be tried again.
        refused = 'explaind_buffer_dropped_records_total{reason="refused",stream="predictions"}'
        until(lambda: gateway.metrics().get(refused, 0) > 2000, "predictions to be refused", 60)
        assert gateway.get("alerts"), "alerts are still raised"
        gateway.registry.unlink()
        beyond = predictions_of(full)["last"] + 2000
        until(
            lambda: predictions_of(gateway.get("status"))["uploaded"] > beyond,
            f"predictions up to {beyond} to arrive in the registry",
            60,
        )
    finally:
        gateway.close()
