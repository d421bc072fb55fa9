"""Bundles go into a real MLflow server and a folder, and come back whole or not at all."""

import csv
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import bundles, keys
from support.cli import done, explaind, one_sentence
from support.gate import Authority, Gate
from support.hostile import PLACE, Hostile
from support.mlflow import PEERS, PYTHON, LossyUplink, MLflow

MODELS = ["ai4i-gbt", "ai4i-mlp"]


@pytest.fixture
def signed(bundle, tmp_path) -> tuple[Path, keys.Keys]:
    """A bundle of this test's own with its signature, and the keys."""
    copy, pair = tmp_path / "press", keys.make(tmp_path)
    shutil.copytree(bundle(), copy)
    done("bundle", "sign", "--bundle", copy, "--key", pair.secret)
    return copy, pair


def pull(out: Path, registry: str | Path, *more: str | Path, name: str = "press", alias: str = "champion"):
    """`explaind bundle pull`."""
    return explaind("bundle", "pull", "--registry", registry, "--name", name, "--alias", alias, "--out", out, *more, seconds=180)


def contents(folder: Path) -> dict[str, bytes]:
    """A folder's files."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def nothing_is_left(out: Path) -> bool:
    """Whether a pull that failed left neither its folder nor a part of it."""
    return not out.exists() and not list(out.parent.glob(f"{out.name}*"))


def opened(mlflow: MLflow, name: str, rows: Path, alias: str = "champion") -> dict:
    """What MLflow's own client makes of a model."""
    command = [PYTHON, PEERS / "mlflow_model.py", mlflow.url, name, alias, rows]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, env=mlflow.env)
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("model", MODELS)
def test_mlflow_opens_what_was_pushed_and_predicts_the_same(model, bundle, tmp_path, mlflow):
    """Signed, pushed, opened by `mlflow.onnx.load_model`, run by onnxruntime, and pulled again."""
    copy, pair = tmp_path / "bundle", keys.make(tmp_path)
    shutil.copytree(bundle(model), copy)
    done("bundle", "sign", "--bundle", copy, "--key", pair.secret)
    first = done("bundle", "push", "--bundle", copy, "--registry", mlflow.url, "--name", model, "--alias", "champion", "--json").json
    assert (first["version"], first["already_there"]) == (1, False)
    again = done("bundle", "push", "--bundle", copy, "--registry", mlflow.url, "--name", model, "--json").json
    assert (again["version"], again["already_there"]) == (1, True)
    reference = bundles.golden(model)["rows"]
    rows = tmp_path / "rows.csv"
    names = [name for name, _ in bundles.FEATURES.values()]
    with rows.open("w", newline="") as file:
        csv.writer(file).writerows([names, *(row["x"] for row in reference)])
    found = opened(mlflow, model, rows)
    assert found["framed"] == (model == "ai4i-mlp"), "a data frame with the features' names does as well"
    assert found["versions"] == 1 and found["status"] == "FINISHED"
    assert found["tags"]["explaind.digest"] == first["digest"] and found["tags"]["explaind.signed"] == "true"
    kind = bundles.KINDS[model]
    ours = done("explain", "--bundle", copy, "--input", rows, "--format", "ndjson", seconds=300).lines
    theirs = [row[kind.index] for row in found["outputs"][kind.tensor]]
    assert [line["prediction"]["probability"] for line in ours] == pytest.approx(theirs, abs=1e-6)
    out = tmp_path / "pulled"
    assert pull(out, mlflow.url, "--key", pair.public, name=model).code == 0
    assert contents(out) == contents(copy)
    done("bundle", "verify", "--bundle", out, "--key", pair.public)


def test_an_alias_moves_and_a_version_is_never_made_twice(bundle, tmp_path, mlflow):
    """Two bundles, two versions; signing one afterwards makes no third."""
    one, two = tmp_path / "one", bundle(max_age="9s")
    shutil.copytree(bundle(), one)
    target = ("--registry", mlflow.url, "--name", "moving")
    done("bundle", "push", "--bundle", one, *target, "--alias", "champion")
    said = done("bundle", "push", "--bundle", two, *target, "--alias", "champion").out
    assert "moving version 2 is there now; champion points at it" in said
    assert pull(tmp_path / "a", mlflow.url, name="moving").code == 0
    assert contents(tmp_path / "a") == contents(two)
    pair = keys.make(tmp_path)
    done("bundle", "sign", "--bundle", one, "--key", pair.secret)
    said = done("bundle", "push", "--bundle", one, *target, "--alias", "champion").out
    assert "moving version 1 was there already; champion points at it" in said
    assert pull(tmp_path / "b", mlflow.url, "--key", pair.public, name="moving").code == 0
    assert contents(tmp_path / "b") == contents(one)
    out = tmp_path / "c"
    by_number = ("bundle", "pull", "--registry", mlflow.url, "--name", "moving", "--version", "2", "--out", out)
    refused = explaind(*by_number, "--key", pair.public)
    assert refused.code == 65 and "not signed" in one_sentence(refused.err) and nothing_is_left(out)
    done(*by_number)
    assert contents(out) == contents(two)
    refused = explaind(*by_number)
    assert refused.code == 74 and str(out) in one_sentence(refused.err)


def test_a_folder_is_a_registry_too(signed, tmp_path):
    """By path and by address, with the same answers."""
    copy, pair = signed
    registry = tmp_path / "registry"
    for place, there in ((registry, "is there now"), (f"file://{registry}", "was there already")):
        assert there in done("bundle", "push", "--bundle", copy, "--registry", place, "--name", "press", "--alias", "champion").out
        out = tmp_path / there.replace(" ", "-")
        assert pull(out, place, "--key", pair.public).code == 0
        assert contents(out) == contents(copy)
    assert sorted(path.name for path in (registry / "models" / "press").iterdir()) == ["1", "aliases"]
    config = tmp_path / "explaind.toml"
    config.write_text(f'[registry]\ntype = "directory"\npath = "{registry}"\n')
    done("bundle", "pull", "--config", config, "--name", "press", "--alias", "champion", "--out", tmp_path / "by-config")
    for name, alias in (("press", "challenger"), ("other", "champion")):
        refused = pull(tmp_path / "none", registry, name=name, alias=alias)
        assert refused.code == 66 and str(registry) in one_sentence(refused.err)
    for name in ("../press", "a/b"):
        refused = pull(tmp_path / "none", registry, name=name)
        assert refused.code == 64 and name in one_sentence(refused.err)


def test_what_is_not_there_is_said(bundle, tmp_path, mlflow):
    """A model, an alias, a version, a server: each in a sentence with its code."""
    out = tmp_path / "out"
    done("bundle", "push", "--bundle", bundle(), "--registry", mlflow.url, "--name", "lonely", "--alias", "champion")
    for name, alias in (("nobody", "champion"), ("lonely", "challenger")):
        refused = pull(out, mlflow.url, name=name, alias=alias)
        assert refused.code == 66 and mlflow.url in one_sentence(refused.err)
    refused = explaind("bundle", "pull", "--registry", mlflow.url, "--name", "lonely", "--version", "7", "--out", out)
    assert refused.code == 66 and "version 7" in one_sentence(refused.err)
    for verb in (("push", "--bundle", bundle()), ("pull", "--alias", "champion", "--out", out)):
        refused = explaind("bundle", *verb, "--registry", "http://127.0.0.1:9", "--name", "lonely")
        assert refused.code == 69 and "127.0.0.1:9" in one_sentence(refused.err)
        refused = explaind("bundle", *verb, "--registry", "ftp://x", "--name", "lonely")
        assert refused.code == 64 and "ftp://x" in one_sentence(refused.err)
    refused = explaind("bundle", "push", "--bundle", tmp_path / "none", "--registry", mlflow.url, "--name", "lonely")
    assert refused.code == 66 and "none" in one_sentence(refused.err)
    assert nothing_is_left(out)


def test_secrets_and_an_authority_of_ones_own(signed, tmp_path, mlflow):
    """As the [registry] of a configuration has them, and on the command line."""
    copy, _ = signed
    authority = Authority(tmp_path / "ca", "plant")
    gate = Gate(mlflow.port, tls=authority.certificate(), authorization="Bearer geheim")
    token = tmp_path / "token"
    token.write_text("geheim\n")
    url = gate.url.replace("127.0.0.1", "localhost")
    config = tmp_path / "explaind.toml"
    config.write_text(f'[registry]\ntype = "mlflow"\nurl = "{url}"\ntoken_file = "token"\nca_file = "{authority.file}"\n')
    try:
        done("bundle", "push", "--bundle", copy, "--config", config, "--name", "secret", "--alias", "champion")
        assert pull(tmp_path / "a", url, "--token-file", token, "--ca-file", authority.file, name="secret").code == 0
        assert contents(tmp_path / "a") == contents(copy)
        refused = pull(tmp_path / "b", url, "--ca-file", authority.file, name="secret")
        assert refused.code == 69 and "401" in one_sentence(refused.err)
        refused = pull(tmp_path / "b", url, "--token-file", token, name="secret")
        assert refused.code == 69 and "ca_file" in one_sentence(refused.err)
        assert "geheim" not in refused.err and nothing_is_left(tmp_path / "b")
    finally:
        gate.close()


def test_a_version_that_was_tampered_with_is_not_kept(signed, tmp_path, mlflow):
    """A byte changed in each file, where the server keeps it."""
    copy, pair = signed
    done("bundle", "push", "--bundle", copy, "--registry", mlflow.url, "--name", "tampered", "--alias", "champion")
    digest = done("bundle", "inspect", "--bundle", copy, "--json").json["digest"]
    [stored] = [folder for folder in mlflow.artifacts.glob("*/*/artifacts/bundle") if contents(folder) == contents(copy)][-1:]
    out, chance = tmp_path / "out", random.Random(5)
    for file in sorted(stored.iterdir()):
        whole = file.read_bytes()
        first = whole.index(b"\n") + 1 if file.name.endswith(".minisig") else 0
        changed = bytearray(whole)
        changed[chance.randrange(first, len(whole) - 1)] ^= 4
        file.write_bytes(changed)
        refused = pull(out, mlflow.url, "--key", pair.public, name="tampered")
        assert refused.code == 65 and nothing_is_left(out), f"{file.name}: {refused}"
        assert "version 1 of model" in one_sentence(refused.err)
        file.write_bytes(whole)
    other = keys.make(tmp_path, "other")
    refused = pull(out, mlflow.url, "--key", other.public, name="tampered")
    assert refused.code == 65 and "SHA256SUMS.minisig" in one_sentence(refused.err) and nothing_is_left(out)
    # Another whole bundle in its place: the digest that was tagged is of the one that was pushed.
    (stored / "evil.bin").write_bytes(b"x")
    refused = pull(out, mlflow.url, name="tampered")
    assert refused.code == 65 and "evil.bin" in one_sentence(refused.err) and nothing_is_left(out)
    (stored / "evil.bin").unlink()
    # Ten gigabytes, of which the disk holds nothing.
    with (stored / "model.onnx").open("r+b") as file:
        file.truncate(10 << 30)
    refused = pull(out, mlflow.url, name="tampered")
    assert refused.code == 65 and "10737418240 bytes" in one_sentence(refused.err) and nothing_is_left(out)
    assert len(digest) == 64


@pytest.fixture
def hostile(bundle) -> Iterator[Hostile]:
    """A registry that lies."""
    server = Hostile(bundle())
    yield server
    server.close()


LIES = {
    "climbs out": ({"more": [("../../evil", 3)]}, "../../evil"),
    "climbs out by a whole path": ({"more": [(f"{PLACE}/../evil", 3)]}, "evil"),
    "is elsewhere": ({"more": [("/etc/passwd", 3)]}, "/etc/passwd"),
    "is hidden": ({"more": [(".bashrc", 3)]}, ".bashrc"),
    "speaks to the terminal": ({"more": [("a\x1b[2Jb", 3)]}, "\\u{1b}"),
    "is announced with ten gigabytes": ({"sizes": {"model.onnx": 10 << 30}}, "10737418240 bytes"),
    "is announced too large together": ({"more": [(f"{n}.bin", 16 << 20) for n in range(40)]}, "are accepted"),
    "is too many": ({"more": [(f"{n}.bin", 1) for n in range(100)]}, "files"),
    "is announced shorter than it is": ({"sizes": {"background.csv": 10}}, "background.csv"),
    "is announced longer than it is": ({"sizes": {"background.csv": 10_000_000}}, "background.csv"),
    "is kept elsewhere": ({"source": "s3://bucket/bundle"}, "s3://bucket/bundle"),
    "is kept at a place that climbs": ({"source": "mlflow-artifacts:/1/../../etc"}, "mlflow-artifacts:/1/../../etc"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_registry_that_lies_gets_nothing_onto_the_disk(lie, hostile, tmp_path):
    """One sentence, 65 or 69, and neither folder nor file anywhere."""
    changes, says = LIES[lie]
    for key, value in changes.items():
        setattr(hostile, key, value)
    before = set(tmp_path.parent.iterdir())
    out = tmp_path / "deep" / "out"
    out.parent.mkdir()
    refused = pull(out, hostile.url)
    assert refused.code in (65, 69), refused
    assert says in one_sentence(refused.err), refused.err
    assert nothing_is_left(out) and set(tmp_path.parent.iterdir()) == before
    assert [path.name for path in tmp_path.rglob("*")] == ["deep"]
    if refused.code == 65 and "announced" not in lie:
        assert not any(path.endswith("model.onnx") for path in hostile.asked), "it was refused before a byte was fetched"


@pytest.mark.parametrize("name", ["SHA256SUMS", "background.csv", "model.onnx"])
def test_a_link_that_is_cut_leaves_nothing(name, hostile, bundle, tmp_path):
    """Cut in the middle of a file: 69 and no folder; then the same pull again is whole."""
    out = tmp_path / "out"
    hostile.cut[name] = (bundle() / name).stat().st_size // 2
    refused = pull(out, hostile.url)
    assert refused.code == 69 and name in one_sentence(refused.err) and nothing_is_left(out)
    hostile.cut.clear()
    assert pull(out, hostile.url).code == 0
    assert contents(out) == contents(bundle())


@pytest.mark.parametrize("name", ["background.csv", "model.onnx"])
def test_a_link_that_is_cut_again_and_again_costs_only_the_rest(name, signed, tmp_path):
    """Each connection brings a fifth, and each byte is sent once, but of what no digest vouches for."""
    copy, pair = signed
    server, out = Hostile(copy, parts=True), tmp_path / "out"
    sizes = {file.name: file.stat().st_size for file in copy.iterdir()}
    server.cut[name] = fifth = sizes[name] // 5 + 1
    try:
        assert pull(out, server.url, "--key", pair.public).code == 0
    finally:
        server.close()
    assert contents(out) == contents(copy)
    assert server.begun == {name: [fifth, 2 * fifth, 3 * fifth, 4 * fifth]}
    expected = sizes | {"SHA256SUMS": 5 * sizes["SHA256SUMS"]}
    # It comes before the cut file, by its name.
    expected["SHA256SUMS.minisig"] *= 5
    assert server.sent == expected


def test_mlflow_gives_the_rest_of_a_file(signed, tmp_path, mlflow):
    """No connection lives long enough for the whole model, and each brings more of it."""
    copy, pair = signed
    done("bundle", "push", "--bundle", copy, "--registry", mlflow.url, "--name", "short", "--alias", "champion")
    most = 50_000
    assert (copy / "model.onnx").stat().st_size > 3 * most
    uplink = LossyUplink(mlflow.port, 0.0, most)
    try:
        assert pull(tmp_path / "out", uplink.url, "--key", pair.public, name="short").code == 0
    finally:
        uplink.close()
    assert contents(tmp_path / "out") == contents(copy)
    assert sum(brought == most for brought in uplink.brought) >= 3


def test_a_part_that_is_another_than_it_says_is_found_out(hostile, bundle, tmp_path):
    """What was put together from parts and has not its digest is fetched whole."""
    hostile.parts = hostile.lies = hostile.once = True
    size = (bundle() / "model.onnx").stat().st_size
    hostile.cut["model.onnx"] = size - 100
    assert pull(tmp_path / "out", hostile.url).code == 0
    assert contents(tmp_path / "out") == contents(bundle())
    assert hostile.begun == {"model.onnx": [size - 100]} and hostile.sent["model.onnx"] == 2 * size


def test_a_file_without_end_ends_at_its_bound(hostile, tmp_path):
    """A server that never stops sending is left."""
    hostile.endless.add("background.csv")
    refused = pull(tmp_path / "out", hostile.url)
    assert refused.code == 65 and "background.csv" in one_sentence(refused.err)
    assert nothing_is_left(tmp_path / "out")


@pytest.mark.parametrize("answer", [(500, b"{}"), (200, b"<html>"), (200, b"{}"), (200, b"[1]"), (404, b"nothing")], ids=str)
def test_an_answer_that_makes_no_sense_is_said(answer, hostile, bundle, tmp_path):
    """A server that is ill, or no MLflow server at all."""
    hostile.instead = answer
    refused = pull(tmp_path / "out", hostile.url)
    assert refused.code in (66, 69) and hostile.url in one_sentence(refused.err)
    assert nothing_is_left(tmp_path / "out")


def test_a_push_and_a_pull_over_a_link_that_loses_answers(signed, tmp_path, mlflow):
    """However often it is cut, in the end there is one version, and it is whole."""
    copy, pair = signed
    uplink = LossyUplink(mlflow.port, 0.1)
    push = ("bundle", "push", "--bundle", copy, "--registry", uplink.url, "--name", "lossy", "--alias", "champion")
    out = tmp_path / "out"
    tries = {"push": 0, "pull": 0}
    while (pushed := explaind(*push, seconds=180)).code:
        tries["push"] += 1
        assert pushed.code == 69 and tries["push"] < 200, pushed
        one_sentence(pushed.err)
    while (pulled := pull(out, uplink.url, "--key", pair.public, name="lossy")).code:
        tries["pull"] += 1
        assert pulled.code == 69 and nothing_is_left(out) and tries["pull"] < 200, pulled
    uplink.close()
    assert contents(out) == contents(copy)
    assert uplink.lost >= 2, f"only {uplink.lost} answers were lost: {tries}"
    again = done("bundle", "push", "--bundle", copy, "--registry", mlflow.url, "--name", "lossy", "--json").json
    assert again["version"] == 1 and again["already_there"]
