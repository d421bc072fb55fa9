"""A real MLflow server, an uplink that loses answers, and reading back what arrived."""

import json
import os
import random
import signal
import socket
import subprocess
import threading
from pathlib import Path

import httpx

from . import ports, scene
from .paths import PEERS
from .process import Process

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "explaind"
PYTHON = Path(os.environ.get("EXPLAIND_MLFLOW", CACHE / "mlflow")) / "bin" / "python"


class MLflow(Process):
    """A tracking server with its database and its artifacts in a folder of the test's own.

    With a password for `admin` it lets in only whom it knows.
    """

    def __init__(self, folder: Path, admin: str | None = None):
        port = ports.free()
        folder.mkdir(parents=True, exist_ok=True)
        command = [PYTHON, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{folder}/db", "--artifacts-destination", f"{folder}/artifacts"]
        # It must not look for anything elsewhere, tell anyone, nor start helpers that would outlive it.
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "NO_PROXY": "*", "no_proxy": "*"}
        quiet["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        self.admin = admin
        if admin:
            file = folder / "auth.ini"
            lines = ["[mlflow]", "default_permission = NO_PERMISSIONS", f"database_uri = sqlite:///{folder}/auth.db"]
            lines += ["admin_username = admin", f"admin_password = {admin}"]
            lines += ["authorization_function = mlflow.server.auth:authenticate_request_basic_auth"]
            file.write_text("\n".join(lines))
            command += ["--app-name", "basic-auth"]
            quiet |= {"MLFLOW_AUTH_CONFIG_PATH": str(file), "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test"}
            # For its own client, when the test reads back.
            quiet |= {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": admin}
        super().__init__(command, folder / "mlflow.log", port, quiet)
        self.url = f"http://127.0.0.1:{port}"
        self.artifacts = folder / "artifacts"

    def _end(self, with_signal: signal.Signals, seconds: float) -> int:
        """Its workers are processes of their own, and go with it."""
        assert self.child is not None
        os.killpg(self.child.pid, with_signal)
        return super()._end(with_signal, seconds)

    def close(self) -> None:
        if self.child is not None:
            os.killpg(self.child.pid, signal.SIGKILL)
        super().close()

    def create_user(self, name: str, password: str) -> None:
        """Has it know a user, who may do what is their own."""
        body = {"username": name, "password": password}
        address = f"{self.url}/api/2.0/mlflow/users/create"
        httpx.post(address, json=body, auth=("admin", self.admin), timeout=30, trust_env=False).raise_for_status()

    def read(self, gateway: str) -> dict:
        """What MLflow's own client finds of a gateway: tags, metrics, and per stream the records' numbers and ids."""
        command = [PYTHON, PEERS / "mlflow_read.py", self.url, gateway]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=self.env)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    def count_files(self, gateway: str, stream: str) -> int:
        """How many batches of a gateway's stream have arrived."""
        return len(list(self.artifacts.glob(f"*/*/artifacts/{gateway}/{stream}/date=*/*.parquet")))

    def set_tag(self, gateway: str, key: str, value: str) -> None:
        """Sets a tag of a gateway's run, as a person at central would."""
        self._do(gateway, "tag", key, value)

    def delete_run(self, gateway: str) -> None:
        """Deletes a gateway's run, as a person at central could."""
        self._do(gateway, "delete")

    def create_run(self, gateway: str, store: str) -> None:
        """Makes a run for a gateway's store by hand."""
        self._do(gateway, "create", store)

    def _do(self, *what: str) -> None:
        gateway, *rest = what
        command = [PYTHON, PEERS / "mlflow_read.py", self.url, gateway, *rest]
        subprocess.run(command, check=True, capture_output=True, timeout=120, env=self.env)


class LossyUplink:
    """A way to a server on which some requests arrive and their answers do not.

    `loss` is the share of answers that get lost. With `swallow`, uploads do not even arrive. A connection is cut once it has
    brought `most` bytes.
    """

    def __init__(self, port: int, loss: float, most: int | None = None):
        self.to, self.loss, self.lost, self.most = port, loss, 0, most
        self.brought: list[int] = []
        self.swallow = False
        self.random = random.Random(7)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections."""
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        """Carries one connection until an answer is lost, which cuts it."""
        try:
            with client, socket.create_connection(("127.0.0.1", self.to)) as server:
                threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
                self.brought.append(0)
                number, left = len(self.brought) - 1, self.most
                while piece := server.recv(65536 if left is None else left):
                    if self.random.random() < self.loss:
                        self.lost += 1
                        break
                    client.sendall(piece)
                    self.brought[number] += len(piece)
                    if left is not None and (left := left - len(piece)) == 0:
                        break
                # Closing alone would wait for the other thread to let go of it.
                client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(65536):
                if self.swallow and piece.startswith(b"PUT "):
                    self.lost += 1
                    break
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def in_mlflow(url: str, **more: str) -> dict[str, str]:
    """The environment of a gateway whose registry is there."""
    return {"EXPLAIND__REGISTRY__TYPE": "mlflow", "EXPLAIND__REGISTRY__URL": url, **more}


def without_registry(text: str, gateway: str) -> str:
    """A scene's configuration for a gateway of this name, with the registry left to the environment."""
    return text.replace('[registry]\ntype = "directory"\npath = "registry"\n', "").replace(scene.GATEWAY, gateway)


def all_uploaded(gateway) -> bool:
    """Whether the registry has every record that was ever made."""
    return all(one["uploaded"] == one["last"] for one in gateway.get("status")["buffer"]["streams"])


def uploaded(gateway, stream: str) -> int:
    """Number of the last record of a stream that the registry has."""
    return next(one for one in gateway.get("status")["buffer"]["streams"] if one["stream"] == stream)["uploaded"]
