"""Bundles are checked behind what the service's unit takes away: there the limits hold, and there is all that the check needs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from support import onnx, paths
from support.daemon import Daemon
from test_rollout import NAME, central, followed, mlops, refused, runs
from test_verification import ENDLESS, FEATURES, MIB, PATIENT, command, demands, foreign, lasting

__all__ = ["central", "foreign", "mlops"]

UNIT = paths.PROJECT / "systemd" / "explaind.service"


def shut_in(*arguments: str) -> list[str]:
    """The same behind what the service's unit takes away."""
    return [sys.executable, str(paths.PROJECT / "tests" / "peers" / "sandbox.py"), str(UNIT), *arguments]


def test_its_limits_hold_in_the_services_sandbox(foreign, tmp_path):
    """Where `nice` is forbidden, and so is the call `setrlimit`: what bounds memory and time is there all the same."""
    process = subprocess.Popen(shut_in(*command(foreign(ENDLESS))), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdin.write(json.dumps(demands(time=lasting(2), latency=PATIENT)))
        process.stdin.close()
        said = [json.loads(process.stdout.readline()) for _ in range(6)]
        assert said[-1] == {"checking": "latency"}, said
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Seccomp:\s2$", status, re.M) and re.search(r"^CapEff:\s0+$", status, re.M)
        limits = {line[:26].strip(): line[26:].split() for line in Path(f"/proc/{process.pid}/limits").read_text().splitlines()}
        assert limits["Max core file size"][:2] == ["0", "0"] and limits["Max open files"][:2] == ["4096", "4096"]
        assert limits["Max cpu time"][:2] == ["4", "5"]
        assert 256 * MIB < int(limits["Max address space"][0]) < 768 * MIB
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip() == "1000"
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 0, "which is why the limits have to do"
        assert process.wait(60) == -signal.SIGXCPU
    finally:
        process.kill()
        process.wait()


def test_the_service_checks_bundles_in_its_sandbox(running, tmp_path, central, mlops):
    """The daemon starts the check as a process of its own there, believes what is sound, and refuses what takes too much memory."""
    central.release("1.0.0")
    gateway = Daemon(tmp_path / "gateway", followed(tmp_path, mlops, 'memory = "128MiB"'))
    gateway.command = shut_in(*gateway.command)
    running.append(gateway)
    gateway.start()
    runs(gateway, "1.0.0", 120)
    assert re.search(r"^Seccomp:\s2$", Path(f"/proc/{gateway.pid}/status").read_text(), re.M)
    large = central.foreign("1.1.0", onnx.squares(FEATURES, side=8_000, times=0))
    place = gateway.registry / "models" / NAME
    # `push` would run it here; somebody else's tool does not.
    shutil.copytree(large, place / "2" / "bundle")
    (place / "aliases" / "champion").write_text("2\n")
    assert refused(gateway, "memory")["registry_version"] == 2
    assert runs(gateway, "1.0.0")["state"] in ("trial", "active")
