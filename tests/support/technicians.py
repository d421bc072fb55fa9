"""People at work while the power fails: they judge and acknowledge, and remember what they were told is done."""

import threading
import time

import httpx

from .daemon import Daemon


class Technicians:
    """One judges the newest prediction again and again, one acknowledges alerts, one reads predictions."""

    def __init__(self, gateway: Daemon):
        self.gateway = gateway
        # What was answered, in the order in which it was asked for.
        self.judged: list[str] = []
        self.acknowledged: list[str] = []
        # Predictions that were shown: id and number.
        self.shown: dict[str, int] = {}
        self._over = threading.Event()
        self._workers: list[threading.Thread] = []
        # What a worker met that is no power failure.
        self._errors: list[Exception] = []
        self._number = 0

    def start(self, *, only_read: bool = False) -> None:
        """They begin; with `only_read` nobody writes anything."""
        self._over.clear()
        jobs = [self._read] if only_read else [self._read, self._judge, self._acknowledge]
        self._workers = [threading.Thread(target=self._repeat, args=(job,), daemon=True) for job in jobs]
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """They put their tablets down."""
        self._over.set()
        for worker in self._workers:
            worker.join(30)
            assert not worker.is_alive()
        if self._errors:
            raise self._errors.pop(0)

    def _repeat(self, job) -> None:
        while not self._over.is_set():
            try:
                job()
            except (OSError, httpx.HTTPError):
                # The power is gone, or not back yet: what was not answered does not count.
                time.sleep(0.02)
            except Exception as error:
                self._errors.append(error)
                return

    def _read(self) -> None:
        for prediction in self._get("predictions?limit=20"):
            self.shown[prediction["id"]] = prediction["sequence"]

    def _judge(self) -> None:
        newest = self._get("predictions?limit=1")
        if not newest:
            return
        self._number += 1
        body = {"prediction_id": newest[0]["id"], "verdict": "confirm", "comment": str(self._number)}
        answer = self.gateway.call("POST", "feedback", json=body)
        if answer.is_success:
            self.judged.append(answer.json()["id"])

    def _acknowledge(self) -> None:
        for alert in self._get("alerts?limit=50"):
            if alert["state"] in ("unacknowledged", "returned_unacknowledged") and not self._over.is_set():
                answer = self.gateway.call("POST", f"alerts/{alert['id']}/acknowledge", json={"comment": "seen"})
                if answer.is_success:
                    self.acknowledged.append(alert["id"])

    def _get(self, path: str) -> list[dict]:
        answer = self.gateway.call("GET", path)
        return answer.json() if answer.is_success else []
