"""A control system on an MQTT broker: mosquitto as a plant would run it, a client that keeps what it hears, and brokers as
nobody would want them."""

import json
import socket
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

from . import ports
from .process import Process
from .scene import GATEWAY
from .wait import until

ROOT = f"explaind/{GATEWAY}"
USER, PASSWORD = "explaind", "not in the configuration"


class Site(Process):
    """mosquitto. With `tls`, a certificate and its key; with `closed`, only for who knows the password."""

    def __init__(self, folder: Path, tls: tuple[Path, Path] | None = None, closed: bool = False):
        folder.mkdir(parents=True, exist_ok=True)
        port = ports.free()
        lines = [f"listener {port} 127.0.0.1", "persistence false", "log_type all"]
        if tls:
            lines += [f"certfile {tls[0]}", f"keyfile {tls[1]}"]
        if closed:
            passwords = folder / "passwords"
            subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, USER, PASSWORD], check=True, capture_output=True)
            # As root mosquitto becomes somebody else, who must be able to read it.
            passwords.chmod(0o644)
            lines += ["allow_anonymous false", f"password_file {passwords}", "user root"]
        else:
            lines += ["allow_anonymous true", "user root"]
        config = folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        super().__init__(["mosquitto", "-c", config], folder / "mosquitto.log", port)
        self.tls = tls


@dataclass(frozen=True)
class Heard:
    """One message, and whether the broker had kept it."""

    topic: str
    payload: bytes
    retained: bool

    @property
    def json(self) -> Any:
        """What it says; nothing for an empty one."""
        return json.loads(self.payload) if self.payload else None


class Scada:
    """A client that hears everything below one gateway."""

    def __init__(self, site: Site, authority: Path | None = None, password: str | None = None):
        self.heard: list[Heard] = []
        self._lock = threading.Lock()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(0.1, 0.5)
        if authority:
            self._client.tls_set(str(authority))
        if password:
            self._client.username_pw_set(USER, password)
        self._subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(f"{ROOT}/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take
        self._port = site.port
        self._client.connect("127.0.0.1", site.port)
        self._client.loop_start()
        assert self._subscribed.wait(10), "no subscription"

    def _take(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            self.heard.append(Heard(message.topic, message.payload, message.retain))

    def close(self) -> None:
        """Goes away."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> "Scada":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what it heard ------------------------------------------------------------------------------------------------

    def on(self, topic: str) -> list[Heard]:
        """All messages on one topic, below the gateway's root, oldest first."""
        with self._lock:
            return [heard for heard in self.heard if heard.topic == f"{ROOT}/{topic}"]

    def last(self, topic: str) -> Any:
        """What the last message on a topic says. There must be one."""
        return self.on(topic)[-1].json

    def status(self) -> str:
        """Whether the gateway is online, as far as it says."""
        return self.last("status")["state"]

    def alert(self, asset: str = "press-7", **expected: Any) -> dict:
        """Waits for the alert of a machine, with these members."""

        def there():
            alert = self.last(f"{asset}/alert")
            assert alert, "there is no alert"
            assert {key: alert.get(key) for key in expected} == expected, alert
            return alert

        return until(there, f"an alert of {asset} with {expected}", 30)

    # --- what it says -------------------------------------------------------------------------------------------------

    def say(self, topic: str, payload: bytes | str, retain: bool = False, qos: int = 1) -> None:
        """Publishes, and waits until the broker has it."""
        self._client.publish(f"{ROOT}/{topic}", payload, qos=qos, retain=retain).wait_for_publish(10)

    def twin(self, client_id: str) -> None:
        """Somebody else connects under this id, and is gone again."""
        twin = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False)
        twin.connect("127.0.0.1", self._port)
        twin.loop_start()
        until(twin.is_connected, "the twin to be let in")
        twin.disconnect()
        twin.loop_stop()

    def acknowledge(self, alert: str, author: str = "ada", **more: Any) -> None:
        """Says that somebody has seen it."""
        self.say("cmd/acknowledge", json.dumps({"alert_id": alert, "author": author, **more}))


class Stub:
    """A broker that greets and answers pings, refuses every subscription, and takes messages or does not."""

    def __init__(self, takes: bool):
        self.takes = takes
        self.told: list[Heard] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Is not there any more."""
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._attend, args=(peer,), daemon=True).start()

    def _attend(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as stream:
            try:
                while self._answer(peer, stream):
                    pass
            except OSError:
                pass

    def _answer(self, peer: socket.socket, stream: Any) -> bool:
        """Reads one packet and answers it; `False` at the end."""
        head = stream.read(1)
        if not head:
            return False
        size = shift = 0
        while True:
            byte = stream.read(1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        body = stream.read(size)
        match head[0] >> 4:
            case 1:
                peer.sendall(b"\x20\x02\x00\x00")
            case 3:
                length = int.from_bytes(body[:2], "big")
                topic, packet = body[2 : 2 + length].decode(), body[2 + length : 4 + length]
                self.told.append(Heard(topic, body[4 + length :], bool(head[0] & 1)))
                if self.takes:
                    peer.sendall(b"\x40\x02" + packet)
            case 8:
                peer.sendall(b"\x90\x03" + body[:2] + b"\x80")
            case 12:
                peer.sendall(b"\xd0\x00")
        return True
