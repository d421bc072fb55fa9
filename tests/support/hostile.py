"""A server that answers as MLflow's registry does, and lies, dawdles or is cut off."""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PLACE = "1/run/artifacts/bundle"


@dataclass
class Hostile:
    """Has one version of one model, made of the files of a folder. What it says of them can be changed, also while it is asked."""

    folder: Path
    # The number of the version, and the digest that its tag says.
    number: int = 1
    digest: str | None = None
    # What the model's tag `explaind.stop` says.
    stop: str | None = None
    # Seconds before anything is answered; and, of files, between pieces of 4 KiB.
    delay: float = 0.0
    drip: float = 0.0
    # Files in the list beside those of the folder: name and size.
    more: list[tuple[str, int]] = field(default_factory=list)
    # Sizes in the list in place of the true ones.
    sizes: dict[str, int] = field(default_factory=dict)
    # Bytes of a file that arrive before the connection is cut.
    cut: dict[str, int] = field(default_factory=dict)
    # Whether a file is cut only the first time.
    once: bool = False
    # Whether it gives a part of a file to who asks for one. One that lies gives another part than it says.
    parts: bool = False
    lies: bool = False
    # Bytes of each file that it sent, and where the parts began that were asked for.
    sent: dict[str, int] = field(default_factory=dict)
    begun: dict[str, list[int]] = field(default_factory=dict)
    # What a file is followed by, without end.
    endless: set[str] = field(default_factory=set)
    # Where it says that the files are.
    source: str = f"mlflow-artifacts:/{PLACE}"
    # What every question is answered with instead: status and body.
    instead: tuple[int, bytes] | None = None
    # Questions that it does not answer: how their paths end, and with which status.
    keeps: dict[str, int] = field(default_factory=dict)
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

            def do_POST(self) -> None:
                # It has no run of any gateway, and makes none.
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                found = self.path.endswith("/runs/search") and not hostile.instead
                hostile._send(self, *((200, b'{"runs": []}') if found else hostile.instead or (500, b"{}")))

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
        query = parse_qs(urlsplit(request.path).query)
        name = query.get("name", ["press"])[0]
        tags = [{"key": "explaind.digest", "value": self.digest}] if self.digest else []
        version = {"name": name, "version": str(self.number), "source": self.source, "status": "READY", "tags": tags}
        stops = [{"key": "explaind.stop", "value": self.stop}] if self.stop is not None else []
        files = [(file.name, self.sizes.get(file.name, file.stat().st_size)) for file in sorted(self.folder.iterdir())]
        listed = [{"path": name, "is_dir": False, "file_size": size} for name, size in [*self.more, *files]]
        answers = {
            "registered-models/alias": {"model_version": version},
            "registered-models/get": {"registered_model": {"name": name, "tags": stops}},
            "experiments/get-by-name": {"experiment": {"experiment_id": "1"}},
            "model-versions/get": {"model_version": version},
            "model-versions/get-download-uri": {"artifact_uri": self.source},
            "mlflow-artifacts/artifacts": {"files": listed},
        }
        known = next((answer for end, answer in answers.items() if path.endswith(end)), None)
        time.sleep(self.delay)
        kept = next((status for end, status in self.keeps.items() if path.endswith(end)), None)
        if kept:
            self._send(request, kept, b'{"message": "not for you"}')
        elif self.instead:
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
        asked = request.headers.get("Range")
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.parts else 0
        if asked:
            self.begun.setdefault(name, []).append(begin)
        request.send_response_only(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        if name in self.endless:
            request.send_header("Connection", "close")
            request.end_headers()
            request.wfile.write(content)
            while True:
                request.wfile.write(bytes(65536))
        request.send_header("Content-Length", str(len(content) - begin))
        request.end_headers()
        # What lies comes from elsewhere in the file.
        piece = content[begin:] if begin == 0 or not self.lies else content[: len(content) - begin]
        cut = self.cut.pop(name, None) if self.once else self.cut.get(name)
        piece = piece[:cut]
        for start in range(0, len(piece), 4096):
            request.wfile.write(piece[start : start + 4096])
            self.sent[name] = self.sent.get(name, 0) + len(piece[start : start + 4096])
            time.sleep(self.drip)
        request.close_connection = cut is not None
