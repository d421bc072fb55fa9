"""A server that answers as MLflow's registry does, and lies."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

PLACE = "1/run/artifacts/bundle"


@dataclass
class Hostile:
    """Has one version of one model, made of the files of a folder. What it says of them can be changed."""

    folder: Path
    # Files in the list beside those of the folder: name and size.
    more: list[tuple[str, int]] = field(default_factory=list)
    # Sizes in the list in place of the true ones.
    sizes: dict[str, int] = field(default_factory=dict)
    # Bytes of a file that arrive before the connection is cut.
    cut: dict[str, int] = field(default_factory=dict)
    # What a file is followed by, without end.
    endless: set[str] = field(default_factory=set)
    # Where it says that the files are.
    source: str = f"mlflow-artifacts:/{PLACE}"
    # What every question is answered with instead: status and body.
    instead: tuple[int, bytes] | None = None
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        hostile = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                try:
                    hostile._answer(self)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections."""
        self.server.shutdown()
        self.server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        self.asked.append(path)
        version = {"name": "press", "version": "1", "source": self.source, "status": "READY"}
        files = [(file.name, self.sizes.get(file.name, file.stat().st_size)) for file in sorted(self.folder.iterdir())]
        listed = [{"path": name, "is_dir": False, "file_size": size} for name, size in [*self.more, *files]]
        answers = {
            "registered-models/get": {"registered_model": {"name": "press", "aliases": [{"alias": "champion", "version": "1"}]}},
            "model-versions/get": {"model_version": version},
            "model-versions/get-download-uri": {"artifact_uri": self.source},
            "mlflow-artifacts/artifacts": {"files": listed},
        }
        known = next((answer for end, answer in answers.items() if path.endswith(end)), None)
        if self.instead:
            self._send(request, *self.instead)
        elif known is not None:
            self._send(request, 200, json.dumps(known).encode())
        else:
            name = path.rsplit("/", 1)[-1]
            self._file(request, name, (self.folder / name).read_bytes())

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        request.send_response_only(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _file(self, request: BaseHTTPRequestHandler, name: str, content: bytes) -> None:
        request.send_response_only(200)
        if name in self.endless:
            request.send_header("Connection", "close")
            request.end_headers()
            request.wfile.write(content)
            while True:
                request.wfile.write(bytes(65536))
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: self.cut.get(name, len(content))])
        if name in self.cut:
            request.close_connection = True
