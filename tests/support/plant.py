"""A small plant: one machine whose six values come from three servers that explaind did not write."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import paho.mqtt.client as mqtt

from . import ports
from .bundles import CATEGORIES
from .paths import PEERS
from .process import Process
from .scene import asset, head

TOPIC = "plant/press-7/telemetry"

# Feature, signal.
INPUTS = {
    "Type": "floor/kind",
    "Air temperature [K]": "line-opc/air_temperature",
    "Process temperature [K]": "floor/process_temperature",
    "Rotational speed [rpm]": "press-plc/speed",
    "Torque [Nm]": "press-plc/torque",
    "Tool wear [min]": "line-opc/wear",
}
SOURCES = ("press-plc", "line-opc", "floor")
KINDS = {value: name for name, value in CATEGORIES.items()}


class Server(Process):
    """One of the Python peers: it obeys commands on its standard input, see `peers/machine.py`."""

    def __init__(self, script: str, folder: Path):
        port = ports.free()
        super().__init__([sys.executable, PEERS / script, "--port", str(port)], folder / f"{script}.log", port)
        self.values: dict[str, float] = {}

    def _streams(self, log: BinaryIO) -> dict[str, Any]:
        return {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}

    def start(self, seconds: float = 30.0) -> "Server":
        super().start(seconds)
        assert self.child is not None and self.child.stdout is not None
        assert self.child.stdout.readline() == f"port {self.port}\n".encode()
        for name, value in self.values.items():
            self.obey("set", name, value)
        return self

    def set(self, values: dict[str, float]) -> None:
        """From now on it serves these, also after a restart."""
        self.values = values
        if self.child is not None:
            for name, value in values.items():
                self.obey("set", name, value)

    def obey(self, *command: object) -> None:
        """`set NAME VALUE`, `bad NAME`, `good NAME` or `remove NAME`."""
        assert self.child is not None and self.child.stdin is not None and self.child.stdout is not None
        self.child.stdin.write(" ".join(map(str, command)).encode() + b"\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline().decode().strip()
        assert answer == "ok", f"{command}: {answer}"


class Broker(Process):
    """mosquitto, and a machine that publishes to it ten times a second for as long as it is there."""

    def __init__(self, folder: Path):
        port = ports.free()
        config = folder / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        super().__init__(["mosquitto", "-c", config], folder / "mosquitto.log", port)
        self.payload = "{}"
        self._over = threading.Event()
        self._machine = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._machine.reconnect_delay_set(0.1, 0.5)
        self._thread = threading.Thread(target=self._publish, daemon=True)

    def start(self, seconds: float = 30.0) -> "Broker":
        super().start(seconds)
        if not self._thread.is_alive():
            self._machine.connect_async("127.0.0.1", self.port)
            self._machine.loop_start()
            self._thread.start()
        return self

    def _publish(self) -> None:
        while not self._over.wait(0.1):
            if self._machine.is_connected():
                self._machine.publish(TOPIC, self.payload)

    def close(self) -> None:
        self._over.set()
        self._machine.loop_stop()
        super().close()


class Plant:
    """All three, and the configuration of a gateway that reads them."""

    def __init__(self, folder: Path, values: dict[str, float]):
        self.modbus = Server("modbus_server.py", folder)
        self.opcua = Server("opcua_server.py", folder)
        self.broker = Broker(folder)
        self.servers: dict[str, Process] = dict(zip(SOURCES, (self.modbus, self.opcua, self.broker), strict=True))
        self.set(values)

    def set(self, values: dict[str, float]) -> None:
        """From now on the machine does this."""
        self.values = values
        self.modbus.set({"torque": values["Torque [Nm]"], "rotational_speed": values["Rotational speed [rpm]"]})
        self.opcua.set({"air_temperature": values["Air temperature [K]"], "tool_wear": values["Tool wear [min]"]})
        self.broker.payload = json.dumps(
            {"kind": KINDS[values["Type"]], "temperature": {"process": values["Process temperature [K]"]}}
        )

    def start(self) -> "Plant":
        """Starts the servers."""
        for server in self.servers.values():
            server.start()
        return self

    def config(self, bundle: Path, extra: str = "", every: str = "100ms") -> str:
        """One machine, predicted ten times a second."""
        return f"""{head()}
[[source]]
name = "press-plc"
type = "modbus"
url = "tcp://127.0.0.1:{self.modbus.port}"
interval = "100ms"
  [[source.signal]]
  name = "torque"
  register = "holding"
  address = 8
  type = "f32"
  unit = "Nm"
  [[source.signal]]
  name = "speed"
  register = "holding"
  address = 6
  type = "f32"

[[source]]
name = "line-opc"
type = "opcua"
url = "opc.tcp://127.0.0.1:{self.opcua.port}"
publishing_interval = "100ms"
  [[source.signal]]
  name = "air_temperature"
  node = "nsu=urn:plant;s=Press7.air_temperature"
  [[source.signal]]
  name = "wear"
  node = "nsu=urn:plant;s=Press7.tool_wear"

[[source]]
name = "floor"
type = "mqtt"
url = "mqtt://127.0.0.1:{self.broker.port}"
  [[source.signal]]
  name = "process_temperature"
  topic = "{TOPIC}"
  pointer = "/temperature/process"
  [[source.signal]]
  name = "kind"
  topic = "{TOPIC}"
  pointer = "/kind"
{asset(bundle, INPUTS, f'every = "{every}"' + extra)}
"""
