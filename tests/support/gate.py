"""A small HTTP proxy: in front of a server, with TLS, a bearer token and a temper; or out into the world, with CONNECT."""

import http.client
import select
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "upgrade", "content-length"}


@dataclass
class Asked:
    """One request that came by."""

    method: str
    path: str
    authorization: str | None
    at: float
    answered: int = 0


@dataclass
class Gate:
    """Stands before the server on port `to`. Without one it is a proxy to wherever a request wants to go."""

    to: int | None = None
    # Certificate and key: it speaks TLS then.
    tls: tuple[Path, Path] | None = None
    # What the header Authorization must be.
    authorization: str | None = None
    # Answers in place of the server's: status and Retry-After, while there are any.
    refusals: list[tuple[int, str]] = field(default_factory=list)
    # Bytes per second that uploads are read at, as by a modem.
    rate: int | None = None
    asked: list[Asked] = field(default_factory=list)
    # Bytes of uploads, as they came: when and how many.
    taken: list[tuple[float, int]] = field(default_factory=list)

    closed: bool = False

    def __post_init__(self) -> None:
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # With Nagle's algorithm each answer would wait for the peer.
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def do_CONNECT(self) -> None:
                gate._tunnel(self)

            def do_GET(self) -> None:
                gate._carry(self)

            do_POST = do_PUT = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        scheme = "http"
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            # Handshakes belong to their connections' own threads.
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections, and no more requests on those that are open."""
        self.closed = True
        self.server.shutdown()
        self.server.server_close()

    def _carry(self, request: BaseHTTPRequestHandler) -> None:
        if self.closed:
            raise OSError("closed")
        authorization = request.headers.get("Authorization")
        asked = Asked(request.command, request.path, authorization, time.monotonic())
        self.asked.append(asked)
        body = self._read(request, int(request.headers.get("Content-Length", 0)))
        if self.refusals:
            asked.answered, after = self.refusals.pop(0)
            self._answer(request, asked.answered, {"Retry-After": after}, b'{"message": "come back later"}')
        elif self.authorization and authorization != self.authorization:
            asked.answered = 401
            self._answer(request, 401, {}, b'{"message": "who are you?"}')
        else:
            to = urlsplit(request.path) if self.to is None else None
            server = http.client.HTTPConnection(*((to.hostname, to.port) if to else ("127.0.0.1", self.to)), timeout=60)
            path = f"{to.path}?{to.query}" if to else request.path
            headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
            server.request(request.command, path, body or None, headers)
            answer = server.getresponse()
            content = answer.read()
            server.close()
            asked.answered = answer.status
            self._answer(request, answer.status, dict(answer.getheaders()), content)

    def _read(self, request: BaseHTTPRequestHandler, size: int) -> bytes:
        body = b""
        while len(body) < size:
            piece = request.rfile.read1(min(4096, size - len(body)))
            if not piece:
                raise OSError("cut off")
            body += piece
            if request.command == "PUT":
                self.taken.append((time.monotonic(), len(piece)))
                if self.rate:
                    time.sleep(len(piece) / self.rate)
        return body

    def _answer(self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes) -> None:
        request.send_response_only(status)
        for key, value in headers.items():
            if key.lower() not in HOP_BY_HOP:
                request.send_header(key, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _tunnel(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(Asked("CONNECT", request.path, None, time.monotonic(), 200))
        host, port = request.path.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=10) as server:
            request.send_response_only(200, "Connection established")
            request.end_headers()
            client = request.connection
            pairs = {client: server, server: client}
            while True:
                for ready in select.select([*pairs], [], [], 60)[0]:
                    piece = ready.recv(65536)
                    if not piece:
                        request.close_connection = True
                        return
                    pairs[ready].sendall(piece)


class Authority:
    """A private certificate authority in a folder, made with openssl."""

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
        self._openssl(
            "req", "-x509", "-days", "2", "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.file, *self._new, *extensions
        )  # fmt: skip

    _new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

    def certificate(self, names: str = "IP:127.0.0.1,DNS:localhost") -> tuple[Path, Path]:
        """A server's certificate for these names, and its key."""
        stem = self.folder / f"{self.name}-server"
        request, file, key, more = (stem.with_suffix(kind) for kind in (".csr", ".pem", ".key", ".ext"))
        self._openssl("req", "-subj", "/CN=registry", "-keyout", key, "-out", request, *self._new)
        more.write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
        self._openssl(
            "x509", "-req", "-days", "2", "-in", request, "-CA", self.file, "-CAkey", self.key, "-CAcreateserial",
            "-extfile", more, "-out", file,
        )  # fmt: skip
        return file, key

    @staticmethod
    def _openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)
