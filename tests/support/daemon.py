"""The daemon under test: the real binary with a configuration of the test's own."""

from pathlib import Path
from typing import Any

import httpx

from . import ports
from .cli import Done, explaind
from .paths import BINARY
from .process import Process
from .wait import until


class Daemon(Process):
    """One gateway in its own folder: configuration, state, registry and log."""

    def __init__(self, folder: Path, config: str | Path, **env: str):
        """`config` is the text of a configuration, or the path of one that exists and stays where it is.

        Either way the web port, the state folder and the directory registry are this test's own; set from outside, as
        an administrator would. `EXPLAIND__REGISTRY__TYPE="none"` gives a gateway without a registry.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.state = Path(env.get("EXPLAIND__GATEWAY__STATE_DIR", folder / "state"))
        self.registry = folder / "registry"
        self.socket = self.state / "explaind.sock"
        if isinstance(config, str):
            self.config = folder / "explaind.toml"
            self.config.write_text(config)
        else:
            self.config = config
        directory = self._directory()
        if "EXPLAIND__REGISTRY__TYPE" in env:
            directory = {}
            if env["EXPLAIND__REGISTRY__TYPE"] == "none":
                del env["EXPLAIND__REGISTRY__TYPE"]
        port = ports.free()
        self.url = f"http://127.0.0.1:{port}"
        self.overrides = {
            "EXPLAIND__GATEWAY__STATE_DIR": str(self.state),
            **directory,
            "EXPLAIND__WEB__LISTEN": f"127.0.0.1:{port}",
            **env,
        }
        command = [BINARY, "run", "--config", self.config]
        logging = {"EXPLAIND_LOG": "info,explaind=debug"}
        super().__init__(command, folder / "daemon.log", port, {**logging, **self.overrides})

    def _directory(self) -> dict[str, str]:
        return {"EXPLAIND__REGISTRY__TYPE": "directory", "EXPLAIND__REGISTRY__PATH": str(self.registry)}

    def start(self, seconds: float = 60.0) -> "Daemon":
        """Starts it and waits until it says that it is ready."""
        super().start(seconds)
        until(self.ready, "the daemon to be ready", seconds)
        return self

    def ready(self) -> bool:
        """Whether `/readyz` says so."""
        assert self.child is not None and self.child.poll() is None, f"the daemon ended:\n{self.log()[-4000:]}"
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False)
        except httpx.TransportError as error:
            raise OSError(str(error)) from error
        assert answer.status_code == 200, answer.text
        return True

    def kill_and_restart(self) -> None:
        """`kill -9`, and up again."""
        self.kill()
        self.start()

    # --- the socket: this process runs as the daemon's own user, which makes it an engineer -----------------------

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request over the Unix socket."""
        transport = httpx.HTTPTransport(uds=str(self.socket))
        with httpx.Client(transport=transport, base_url="http://explaind", timeout=15) as client:
            try:
                return client.request(method, f"/api/v1/{path}", **options)
            except httpx.TransportError as error:
                raise OSError(f"{method} {path}: {error}") from error

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON answer to a GET that must succeed."""
        answer = self.call("GET", path, params=parameters)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a POST that must succeed."""
        answer = self.call("POST", path, json=body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def verb(self, *arguments: str, **options: Any) -> Done:
        """A verb of the command line that speaks to this daemon."""
        return explaind(*arguments, "--socket", self.socket, **options)

    def configured(self, *arguments: str, **options: Any) -> Done:
        """A verb that is told this daemon's configuration, and finds socket or state by that."""
        return explaind(*arguments, "--config", self.config, **self.overrides, **options)

    # --- what it shows ----------------------------------------------------------------------------------------------

    def alerts(self, asset: str | None = None) -> list[dict]:
        """Open alerts, newest first."""
        return [alert for alert in self.get("alerts") if asset in (None, alert["asset"])]

    def predictions(self, limit: int = 50) -> list[dict]:
        """Predictions, newest first."""
        return self.get("predictions", limit=limit)

    def sources(self) -> dict[str, dict]:
        """What the status says of each source."""
        return {source["name"]: source for source in self.get("status")["sources"]}

    def metrics(self) -> dict[str, float]:
        """The figures of `/metrics`, each under its name with its labels in alphabetical order."""
        text = httpx.get(f"{self.url}/metrics", timeout=10, trust_env=False).text
        return parse_metrics(text)


def parse_metrics(text: str) -> dict[str, float]:
    """Reads the Prometheus text format: `{'name{a="x",b="y"}': 1.0}`."""
    figures = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        series, _, value = line.rpartition(" ")
        name, brace, labels = series.partition("{")
        if brace:
            series = name + "{" + ",".join(sorted(labels.rstrip("}").split(","))) + "}"
        figures[series] = float(value)
    return figures
