"""Bundles are made from what a data scientist has, say what they are, are signed, and are nobody's once they are changed."""

import csv
import hashlib
import json
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from support import bundles, keys, paths
from support.cli import done, explaind, one_sentence

MODEL = paths.MODELS / "ai4i-gbt" / "model.onnx"
CARD = """
[card]
purpose = "Stop before the tool breaks."
data = "AI4I 2020, ten thousand rows."
limits = "Not for other spindles."
approved_by = "Q. Ality"
approved_on = "2026-11-20"
expires = "2027-11-20"
hardware = ["aarch64", "x86_64"]
assets = ["press-7"]
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of AI4I with the target, in the columns of the manifests here."""
    frame = pd.read_csv(paths.PROJECT / "config" / "demo" / "ai4i2020.csv")
    target = next(name for name in frame.columns if name.lower() == "machine failure")
    file = tmp_path_factory.mktemp("table") / "train.csv"
    columns = [name for name, _ in bundles.FEATURES.values()]
    frame = frame.rename(columns={target: "failed"})[[*columns, "failed"]]
    frame.to_csv(file, index=False)
    return file


def manifest(folder: Path, more: str = "") -> Path:
    """A manifest with a target."""
    file = folder / "manifest.toml"
    text = bundles.manifest("ai4i-gbt").replace('labels = ["healthy", "failure"]', 'labels = ["healthy", "failure"]\ntarget = "failed"')
    file.write_text(text + more)
    return file


def create(out: Path, reference: Path, *more: str | Path):
    """`explaind bundle create`."""
    return explaind("bundle", "create", "--model", MODEL, "--reference", reference, *more, "--out", out, seconds=180)


def test_a_table_gives_background_calibration_figures_and_card(table, tmp_path):
    """From ten thousand rows with a target: each part is there, in proportion, and the same again."""
    out = tmp_path / "press"
    made = create(out, table, "--manifest", manifest(tmp_path, CARD))
    assert made.code == 0, made.err
    assert "--calibration" in made.out, "rows that the model may know are no fair measure, and that is said"
    frame = pd.read_csv(table)
    with (out / "calibration.csv").open() as file:
        rows = list(csv.DictReader(file))
    failed = sum(row["failed"] == "1" for row in rows)
    assert len(rows) == 1000 and abs(failed - 1000 * frame["failed"].mean()) <= 1
    assert len((out / "background.csv").read_text().splitlines()) == 101
    told = json.loads((out / "monitoring.json").read_text())
    torque = next(one for one in told["features"] if one["name"] == "Torque [Nm]")
    assert told["schema"] == 1 and torque["present"] == len(frame)
    assert torque["mean"] == pytest.approx(frame["Torque [Nm]"].mean(), rel=1e-6)
    assert torque["deviation"] == pytest.approx(frame["Torque [Nm]"].std(ddof=0), rel=1e-6)
    assert torque["shape"]["quantiles"][50] == pytest.approx(frame["Torque [Nm]"].median(), rel=1e-6)
    numeric = [feature for feature in told["joint"]["columns"] if feature in (3, 4)]
    assert numeric == [3, 4], "speed and torque are looked at together"
    wanted = frame["Rotational speed [rpm]"].corr(frame["Torque [Nm]"])
    width = told["joint"]["columns"].index(4)
    place = width * (width - 1) // 2 + told["joint"]["columns"].index(3)
    every = -(-len(frame) // 4000)
    sampled = frame.iloc[::every]
    assert told["joint"]["correlations"][place] == pytest.approx(wanted, abs=0.05)
    assert len(sampled) <= 4000 and len(told["certainty"]["scores"]) == 1000
    assert told["certainty"]["origin"] == "reference"
    assert 0.9 < told["quality"]["quality"]["accuracy"] <= 1
    assert 0.9 < told["quality"]["quality"]["area_under_roc"] <= 1
    card = (out / "MODEL_CARD.md").read_text()
    for part in ("Stop before the tool breaks.", "Not for other spindles.", "expires: 2027-11-20", "hardware: aarch64, x86_64", "accuracy"):
        assert part in card, part
    again = tmp_path / "again"
    assert create(again, table, "--manifest", manifest(tmp_path, CARD)).code == 0
    assert (again / "SHA256SUMS").read_bytes() == (out / "SHA256SUMS").read_bytes()
    shown = done("bundle", "inspect", "--bundle", out, "--json").json
    assert shown["golden"] == {"rows": 50, "origin": "bundle-create"} and shown["signature"] is None
    assert shown["digest"] == hashlib.sha256((out / "SHA256SUMS").read_bytes()).hexdigest()
    assert shown["card"]["assets"] == ["press-7"] and len(shown["files"]) == 9
    assert "press-7" in done("bundle", "inspect", "--bundle", out).out


def test_parquet_gives_the_same_bundle_as_csv(table, tmp_path):
    """As pandas writes it, with words for the type."""
    frame = pd.read_csv(table)
    frame.to_parquet(tmp_path / "train.parquet")
    frame.to_csv(tmp_path / "train.csv", index=False)
    made = [create(tmp_path / name, tmp_path / f"train.{name}", "--manifest", manifest(tmp_path)) for name in ("csv", "parquet")]
    assert [one.code for one in made] == [0, 0], made
    for name in ("background.csv", "calibration.csv", "monitoring.json"):
        one, other = ((tmp_path / kind / name).read_text() for kind in ("csv", "parquet"))
        assert len(one.splitlines()) == len(other.splitlines()), name
    # The digests of the tables are the seeds, so only what all rows say is the same.
    features = [json.loads((tmp_path / kind / "monitoring.json").read_text())["features"] for kind in ("csv", "parquet")]
    assert features[0] == features[1]
    broken = tmp_path / "broken.parquet"
    broken.write_bytes((tmp_path / "train.parquet").read_bytes()[:2000])
    refused = create(tmp_path / "out", broken, "--manifest", manifest(tmp_path))
    assert refused.code == 65 and str(broken) in one_sentence(refused.err)


def test_rows_that_were_held_out_come_before_the_reference(table, tmp_path):
    """They are what certainty and metrics are of."""
    frame = pd.read_csv(table)
    held = tmp_path / "held.csv"
    frame.tail(200).to_csv(held, index=False)
    made = create(tmp_path / "press", table, "--manifest", manifest(tmp_path), "--calibration", held)
    assert made.code == 0 and "--calibration" not in made.out, made
    told = json.loads((tmp_path / "press" / "monitoring.json").read_text())
    assert told["certainty"]["origin"] == "held_out" and told["quality"]["rows"] == 200


def test_without_a_manifest_one_is_drafted_and_that_is_said(table, tmp_path):
    """From the names in the model and the table; the column too many is the target."""
    frame = pd.read_csv(table)
    frame["Type"] = frame["Type"].map(bundles.CATEGORIES)
    frame.to_csv(tmp_path / "numbers.csv", index=False)
    made = create(tmp_path / "press", tmp_path / "numbers.csv")
    assert made.code == 0, made.err
    assert "drafted" in made.out and "manifest.toml" in made.out
    shown = done("bundle", "inspect", "--bundle", tmp_path / "press", "--json").json
    assert (shown["name"], shown["output"]["target"], shown["output"]["kind"]) == ("press", "failed", "classification")
    assert [feature["unit"] for feature in shown["features"]] == ["", "K", "K", "rpm", "Nm", "min"]
    assert shown["decision"] is None, "a draft raises no alerts"
    text = (tmp_path / "press" / "manifest.toml").read_text()
    assert "# [decision]" in text and "# range" in text
    # The words need a person.
    refused = create(tmp_path / "words", table)
    assert refused.code == 65 and "Type" in one_sentence(refused.err)


def test_a_bundle_is_signed_as_minisign_does(bundle, tmp_path):
    """With and without a password; minisign checks ours, and we check minisign's."""
    copy = tmp_path / "press"
    shutil.copytree(bundle(), copy)
    open_keys = keys.make(tmp_path, "open")
    locked = keys.make(tmp_path, "locked", keys.PASSWORD)
    refused = explaind("bundle", "verify", "--bundle", copy, "--key", open_keys.public)
    assert refused.code == 65 and "not signed" in one_sentence(refused.err)
    done("bundle", "sign", "--bundle", copy, "--key", open_keys.secret)
    assert open_keys.verifies(copy) and not locked.verifies(copy)
    assert "signed (timestamp:" in done("bundle", "verify", "--bundle", copy, "--key", open_keys.public).out
    done("bundle", "verify", "--bundle", copy, "--key", locked.public, "--key", open_keys.public)
    refused = explaind("bundle", "verify", "--bundle", copy, "--key", locked.public)
    assert refused.code == 65 and "SHA256SUMS.minisig" in one_sentence(refused.err)
    wrong = explaind("bundle", "sign", "--bundle", copy, "--key", locked.secret, stdin="wrong\n", seconds=120)
    assert wrong.code == 77 and "password" in one_sentence(wrong.err)
    done("bundle", "sign", "--bundle", copy, "--key", locked.secret, stdin=keys.PASSWORD + "\n", seconds=120)
    assert locked.verifies(copy)
    shown = done("bundle", "inspect", "--bundle", copy, "--json").json["signature"]
    # minisign writes the number of a key without the zeros that it may begin with.
    assert shown["key"].lstrip("0") in locked.public.read_text() and not shown["checked"]
    file = tmp_path / "password"
    file.write_text(keys.PASSWORD + "\n")
    done("bundle", "sign", "--bundle", copy, "--key", locked.secret, "--password-file", file, seconds=120)
    assert locked.verifies(copy)
    open_keys.sign(copy)
    done("bundle", "verify", "--bundle", copy, "--key", open_keys.public)
    assert not list(tmp_path.glob("*.partial"))
    for path, code in ((open_keys.public, 65), (copy / "model.onnx", 65), (tmp_path / "none", 66)):
        refused = explaind("bundle", "sign", "--bundle", copy, "--key", path)
        assert refused.code == code and str(path) in one_sentence(refused.err)
        refused = explaind("bundle", "verify", "--bundle", copy, "--key", path if path != open_keys.public else open_keys.secret)
        assert refused.code == code, refused


def test_the_password_is_asked_for_and_not_shown(bundle, tmp_path):
    """On a terminal nothing of it appears."""
    copy = tmp_path / "press"
    shutil.copytree(bundle(), copy)
    locked = keys.make(tmp_path, "locked", keys.PASSWORD)
    ours, theirs = pty.openpty()
    command = [paths.BINARY, "bundle", "sign", "--bundle", copy, "--key", locked.secret]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "EXPLAIND_LOG": "off"})
    os.close(theirs)
    seen = b""
    while b"Password of the key: " not in seen:
        seen += os.read(ours, 1024)
    os.write(ours, keys.PASSWORD.encode() + b"\n")
    try:
        while piece := os.read(ours, 1024):
            seen += piece
    except OSError:
        pass  # A terminal whose other side is closed says so.
    os.close(ours)
    assert child.wait(120) == 0, seen
    assert keys.PASSWORD.encode() not in seen and b"is signed with key" in seen
    assert locked.verifies(copy)


def test_a_byte_changed_in_any_file_is_noticed(table, tmp_path):
    """In the first, the middle and the last part of each file of a signed bundle."""
    out = tmp_path / "press"
    assert create(out, table, "--manifest", manifest(tmp_path, CARD)).code == 0
    pair = keys.make(tmp_path)
    done("bundle", "sign", "--bundle", out, "--key", pair.secret)
    done("bundle", "verify", "--bundle", out, "--key", pair.public)
    files = sorted(out.iterdir())
    assert len(files) == 10, files
    for file in files:
        whole = file.read_bytes()
        # The first line of a signature is a comment that nobody signs.
        first = whole.index(b"\n") + 3 if file.name.endswith(".minisig") else 0
        for place in (first, (first + len(whole)) // 2, len(whole) - 2):
            changed = bytearray(whole)
            changed[place] ^= 1
            file.write_bytes(changed)
            refused = explaind("bundle", "verify", "--bundle", out, "--key", pair.public)
            assert refused.code == 65, f"{file.name}, byte {place}: {refused}"
            sentence = one_sentence(refused.err)
            assert file.name.removesuffix(".minisig") in sentence, sentence
        file.write_bytes(whole)
    done("bundle", "verify", "--bundle", out, "--key", pair.public)
    # Digests made to fit do not help: they are what is signed.
    text = (out / "manifest.toml").read_text().replace("raise_above = 0.5", "raise_above = 0.9")
    (out / "manifest.toml").write_text(text)
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files if not file.name.startswith("SHA256SUMS")]
    (out / "SHA256SUMS").write_text("".join(sums))
    done("bundle", "verify", "--bundle", out)
    refused = explaind("bundle", "verify", "--bundle", out, "--key", pair.public)
    assert refused.code == 65 and "signed the bundle" in one_sentence(refused.err)
