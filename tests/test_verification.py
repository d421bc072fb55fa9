"""A bundle is checked in a process of its own before it is believed: what each check refuses, and that nothing gets out of hand."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import bundles, keys, onnx, paths
from support.cli import done, one_sentence
from support.sealed import resum
from support.wait import until

MIB = 1 << 20
FEATURES = len(bundles.FEATURES)
CARD = """
[card]
hardware = ["x86_64", "aarch64"]
assets = ["press-7", "press-8"]
expires = "2026-11-30"
"""


def demands(**changes: Any) -> dict[str, Any]:
    """What a gateway with one press demands, and what is otherwise."""
    press = {"id": "press-7", "inputs": {name: unit or None for name, unit in bundles.FEATURES.values()}, "every": None}
    ours = {
        "keys": [], "hardware": "x86_64", "today": "2026-11-27", "assets": [press],
        "memory": 256 * MIB, "time": lasting(60), "latency": lasting(1),
    }  # fmt: skip
    return {**ours, **changes}


def lasting(seconds: float) -> dict[str, int]:
    """A duration."""
    return {"secs": int(seconds), "nanos": int(seconds % 1 * 1e9)}


def press(units: dict[str, str | None] | None = None, without: str = "", more: str = "", **changes: Any) -> list[dict[str, Any]]:
    """The press, with other inputs."""
    asset = demands()["assets"][0]
    inputs = {name: unit for name, unit in asset["inputs"].items() if name != without} | (units or {})
    return [{**asset, "inputs": inputs | ({more: None} if more else {}), **changes}]


@dataclass
class Verdict:
    """What the process said, and how it ended."""

    code: int
    said: list[dict[str, Any]]
    complained: str

    @property
    def accepted(self) -> dict[str, Any]:
        """The report; it must have passed."""
        assert self.code == 0 and "accepted" in self.said[-1], self
        return self.said[-1]["accepted"]

    @property
    def refused(self) -> tuple[str, str]:
        """The check that was not passed, and the reason, which a person must be able to read."""
        assert self.code == 65 and "refused" in self.said[-1], self
        refusal = self.said[-1]["refused"]
        sentence = one_sentence(self.complained)
        assert refusal["check"] in sentence and refusal["reason"] in sentence
        return refusal["check"], refusal["reason"]


def command(bundle: Path) -> list[str]:
    """The process that the daemon starts."""
    return [str(paths.BINARY), "verify-bundle", "--bundle", str(bundle)]


def verify(bundle: Path, **changes: Any) -> Verdict:
    """Has a bundle checked."""
    ended = subprocess.run(
        command(bundle), input=json.dumps(demands(**changes)), capture_output=True, text=True, timeout=100, check=False,
        env={"EXPLAIND_LOG": "off", "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    return Verdict(ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()], ended.stderr)


@pytest.fixture
def ours(bundle, tmp_path) -> Path:
    """A bundle with a card, to be changed."""
    copy = tmp_path / "press"
    shutil.copytree(bundle("ai4i-gbt"), copy)
    with (copy / "manifest.toml").open("a") as file:
        file.write(CARD)
    resum(copy)
    return copy


@pytest.fixture
def foreign(bundle, tmp_path) -> Callable[[bytes], Path]:
    """Makes a bundle of a model that takes the press's features and gives a number `y`."""

    def make(model: bytes, value: Callable[[list[float]], float] = lambda _: 0.0) -> Path:
        copy = tmp_path / "foreign"
        shutil.copytree(bundle("ai4i-mlp"), copy)
        (copy / "model.onnx").write_bytes(model)
        bundles.answers(copy, value)
        text = (copy / "manifest.toml").read_text().replace('"probability"', '"y"').replace('"classification"', '"regression"')
        (copy / "manifest.toml").write_text("\n".join(line for line in text.splitlines() if not line.startswith("labels")) + "\n")
        resum(copy)
        return copy

    return make


@pytest.mark.parametrize("model", sorted(bundles.KINDS))
def test_a_sound_bundle_is_reported_on(bundle, model):
    """With what it took here, which is far below what it may take."""
    folder = bundle(model)
    report = verify(folder).accepted
    shown = done("bundle", "inspect", "--bundle", folder, "--json").json
    assert (report["identity"], report["name"], report["version"]) == (shown["digest"], model, "1.0.0")
    assert report["golden_rows"] == 50 and report["largest_error"] <= 1e-6 and report["signed"] is None
    assert 0 < report["latency"]["nanos"] < 100e6 and report["latency"]["secs"] == 0
    assert 0 < report["explanation"]["nanos"] and report["evaluations"] > 0 and report["method"]
    assert MIB < report["peak_memory"] < 128 * MIB


def test_a_byte_changed_in_any_file_is_refused(ours, tmp_path):
    """And what is signed by somebody else, or by nobody."""
    pair, other = keys.make(tmp_path), keys.make(tmp_path, "other")
    trusted = {"keys": [pair.public.read_text()]}
    assert verify(ours, **trusted).refused[0] == "signature"
    pair.sign(ours)
    assert "timestamp:" in verify(ours, **trusted).accepted["signed"]
    files = sorted(ours.iterdir())
    assert len(files) >= 8, files
    for file in files:
        whole = file.read_bytes()
        # The first line of a signature is a comment that nobody signs.
        first = whole.index(b"\n") + 3 if file.name.endswith(".minisig") else 0
        changed = bytearray(whole)
        changed[(first + len(whole)) // 2] ^= 1
        file.write_bytes(changed)
        check, reason = verify(ours, **trusted).refused
        assert check == ("signature" if file.name.startswith("SHA256SUMS") else "digests"), (file.name, reason)
        assert file.name.removesuffix(".minisig") in reason
        file.write_bytes(whole)
    both = {"keys": [other.public.read_text(), pair.public.read_text()]}
    assert verify(ours, **both).accepted["signed"]
    assert verify(ours, keys=[other.public.read_text()]).refused[0] == "signature"
    # Digests that were made to fit are not the ones that were signed.
    (ours / "MODEL_CARD.md").write_text("Approved for everything.\n")
    resum(ours)
    assert verify(ours, **trusted).refused[0] == "signature"
    verify(ours).accepted  # noqa: B018
    assert verify(ours, keys=["no key"]).refused[0] == "unchecked", "which is nothing the bundle can be blamed for"


@dataclass(frozen=True)
class Unfit:
    """Demands that a sound bundle does not meet."""

    name: str
    changes: dict[str, Any]
    check: str
    says: str


UNFIT = [
    Unfit("another processor", {"hardware": "riscv64"}, "hardware", "approves it for x86_64, aarch64, and this machine is riscv64"),
    Unfit("another asset", {"assets": [*press(), *press(id="mill-1")]}, "asset", "not for mill-1"),
    Unfit("a day too late", {"today": "2026-12-01"}, "expiry", "until 2026-11-30"),
    Unfit("a signal too few", {"assets": press(without="Torque [Nm]")}, "features", 'asset press-7: feature "Torque [Nm]"'),
    Unfit("another unit", {"assets": press({"Torque [Nm]": "lbf ft"})}, "features", "in Nm and its signal in lbf ft"),
    Unfit("no time", {"latency": lasting(1e-9)}, "latency", "a prediction takes"),
]


@pytest.mark.parametrize("unfit", UNFIT, ids=lambda unfit: unfit.name)
def test_what_does_not_fit_here_is_refused(ours, unfit):
    """By its card, by the configuration, by the time there is."""
    check, reason = verify(ours, **unfit.changes).refused
    assert check == unfit.check and unfit.says in reason, (check, reason)


def test_what_is_not_stated_is_not_demanded(ours):
    """The last day counts, a clock that is not known to be right does not, nor does a signal without a unit."""
    for changes in ({"today": "2026-11-30"}, {"today": None}, {"assets": press({"Torque [Nm]": None})}, {"assets": press(more="Phase")}, {"assets": []}):
        assert verify(ours, **changes).accepted["expires"] == "2026-11-30"


def edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Changes a text in a file."""

    def apply(bundle: Path) -> None:
        before = (bundle / name).read_text()
        assert old in before
        (bundle / name).write_text(before.replace(old, new, 1))

    return apply


def golden_off(bundle: Path) -> None:
    """Says another output of the first golden row."""
    lines = (bundle / "golden.csv").read_text().splitlines()
    column = lines[0].split(",").index("output:probabilities[1]")
    cells = lines[1].split(",")
    cells[column] = str(float(cells[column]) + 1e-3)
    (bundle / "golden.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")


def ten_gigabytes(bundle: Path) -> None:
    """A file of nothing but holes."""
    with (bundle / "model.onnx").open("r+b") as file:
        file.truncate(10 << 30)


BROKEN: dict[str, tuple[Callable[[Path], Any], bool, str]] = {
    "a golden row that is not so": (golden_off, True, "golden"),
    "no golden rows at all": (lambda bundle: (bundle / "golden.csv").unlink(), True, "golden"),
    "a manifest of the future": (edited("manifest.toml", "schema = 1", "schema = 9"), True, "schema"),
    "an output that is not there": (edited("manifest.toml", '"probabilities"', '"scores"'), True, "schema"),
    "a model that is none": (lambda bundle: (bundle / "model.onnx").write_bytes(b"no model"), True, "operators"),
    "no background": (lambda bundle: (bundle / "background.csv").unlink(), True, "digests"),
    "a file that nobody vouches for": (lambda bundle: (bundle / "more.bin").write_bytes(b"x"), False, "digests"),
    "a folder": (lambda bundle: (bundle / "more").mkdir(), False, "files"),
    "a link that leads out": (lambda bundle: (bundle / "more").symlink_to("/etc"), False, "files"),
    "ten gigabytes": (ten_gigabytes, False, "files"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused(ours, name):
    """Under the check that it concerns."""
    break_it, sealed, expected = BROKEN[name]
    break_it(ours)
    if sealed:
        resum(ours)
    check, reason = verify(ours).refused
    assert check == expected, reason


def test_a_model_that_answers_with_no_number_is_refused(foreign):
    """It loads and runs, and says nothing."""
    check, reason = verify(foreign(onnx.never_a_number(FEATURES))).refused
    assert check == "finite" and "not a finite number" in reason


def test_a_model_that_eats_memory_is_refused_and_takes_none(foreign):
    """A quarter of a gigabyte for one row, of which the kernel gives it nothing."""
    folder = foreign(onnx.squares(FEATURES, side=8_000, times=0), onnx.squared(8))
    check, reason = verify(folder, memory=128 * MIB).refused
    assert check == "memory" and "more memory" in reason
    small = foreign_again(folder, onnx.squares(FEATURES, side=8, times=1))
    assert verify(small).accepted["peak_memory"] < 64 * MIB


def foreign_again(folder: Path, model: bytes) -> Path:
    """Another model in the same bundle."""
    (folder / "model.onnx").write_bytes(model)
    resum(folder)
    return folder


@pytest.mark.parametrize(("memory", "at"), [(8 * MIB, "operators"), (16 * MIB, "explanation")])
def test_memory_that_gives_out_ends_the_process(bundle, memory, at):
    """Where nothing can catch it, be it the model or its explanations: the words on standard error are what the daemon goes by."""
    ended = verify(bundle("ai4i-forest"), memory=memory)
    assert ended.code == -signal.SIGABRT and "memory allocation of" in ended.complained, ended
    assert ended.said[-1] == {"checking": at}


def test_a_model_that_takes_seconds_is_refused_after_a_few_rows(foreign):
    """All of its hundred rows would take minutes."""
    folder = foreign(onnx.squares(FEATURES, side=1_200, times=4))
    check, reason = verify(folder, latency=lasting(0.05)).refused
    assert check == "latency" and "may take 50ms" in reason


# So many multiplications of a large matrix take seconds for each row, and minutes for all.
ENDLESS = onnx.squares(FEATURES, side=1_500, times=20)
PATIENT = lasting(600)


def test_a_model_that_never_answers_is_ended_by_the_kernel_if_by_nobody_else(foreign):
    """With the signal for time that is up; the last it said is what it was at."""
    ended = verify(foreign(ENDLESS), time=lasting(1), latency=PATIENT)
    assert ended.code == -signal.SIGXCPU and ended.said[-1] == {"checking": "latency"}, ended


def alive(process: int) -> bool:
    """Whether a process runs, and is more than its entry in the table."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_steps_back_and_does_not_outlive_whoever_waits(foreign, tmp_path):
    """Its limits are the kernel's. When the daemon is killed, nobody is left to end it: it goes by itself."""
    folder = foreign(ENDLESS)
    (tmp_path / "demands.json").write_text(json.dumps(demands(time=lasting(300), latency=PATIENT)))
    starts = f"""
import subprocess, sys
child = subprocess.Popen({command(folder)!r}, stdin=open({str(tmp_path / "demands.json")!r}), stdout=subprocess.PIPE)
for line in child.stdout:
    if b"latency" in line:
        break
print(child.pid, flush=True)
child.wait()
"""
    keeper = subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE, text=True)
    try:
        process = int(keeper.stdout.readline())
        limits = {line[:26].strip(): line[26:].split() for line in Path(f"/proc/{process}/limits").read_text().splitlines()}
        assert limits["Max core file size"][:2] == ["0", "0"]
        assert limits["Max cpu time"][:2] == ["302", "303"]
        assert 256 * MIB < int(limits["Max address space"][0]) < 768 * MIB
        assert os.getpriority(os.PRIO_PROCESS, process) >= 10
        assert Path(f"/proc/{process}/oom_score_adj").read_text().strip() == "1000"
        assert alive(process)
    finally:
        keeper.kill()
        keeper.wait()
    until(lambda: not alive(process), "the process to go with its keeper", 10)


def test_what_is_demanded_must_make_sense(ours):
    """Otherwise nothing is said of the bundle."""
    for text in ("", "{}", "[]", json.dumps({**demands(), "colour": "red"})):
        ended = subprocess.run(command(ours), input=text, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 65, ended
        assert json.loads(ended.stdout.splitlines()[-1])["refused"]["check"] == "unchecked"


def test_nobody_is_told_of_the_verb(ours):
    """It is there for the daemon."""
    assert "verify-bundle" not in done("--help").out
