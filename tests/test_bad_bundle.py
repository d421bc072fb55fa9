"""Bundles that are not what they should be: one sentence with file, line and column or key, and exit code 65."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import bundles, paths
from support.cli import done, explaind, one_sentence
from support.scene import replay
from support.sealed import resum


def edit(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    """Changes one text file of a bundle."""

    def apply(bundle: Path) -> None:
        file = bundle / name
        before = file.read_text()
        after = change(before)
        assert after != before, f"{name} was not changed"
        file.write_text(after)

    return apply


def swap(old: str, new: str) -> Callable[[str], str]:
    """The first `old` becomes `new`."""
    return lambda text: text.replace(old, new, 1)


def cell(line: int, column: int, value: str) -> Callable[[str], str]:
    """One cell of a CSV, counted from line 1 and column 0."""

    def change(text: str) -> str:
        lines = text.splitlines(keepends=True)
        cells = lines[line - 1].rstrip("\r\n").split(",")
        cells[column] = value
        lines[line - 1] = ",".join(cells) + "\n"
        return "".join(lines)

    return change


def without_column(column: int) -> Callable[[str], str]:
    """A CSV without one of its columns."""

    def change(text: str) -> str:
        rows = [line.split(",") for line in text.splitlines()]
        return "\n".join(",".join(row[:column] + row[column + 1 :]) for row in rows) + "\n"

    return change


def truncate(name: str, keep: float) -> Callable[[Path], None]:
    """Only the first part of a file arrived."""

    def apply(bundle: Path) -> None:
        whole = (bundle / name).read_bytes()
        (bundle / name).write_bytes(whole[: int(len(whole) * keep)])

    return apply


def model_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Changes the model."""

    def apply(bundle: Path) -> None:
        (bundle / "model.onnx").write_bytes(change((bundle / "model.onnx").read_bytes()))

    return apply


@dataclass(frozen=True)
class Broken:
    """One defect; `sealed` means that the digests were made to fit it."""

    name: str
    apply: Callable[[Path], None]
    says: tuple[str, ...]
    sealed: bool = True
    model: str = "ai4i-gbt"


BROKEN = [
    Broken("no digests", lambda b: (b / "SHA256SUMS").unlink(), ("SHA256SUMS",), sealed=False),
    Broken("a changed file", edit("background.csv", cell(2, 0, "2")), ("background.csv", "SHA256SUMS"), sealed=False),
    Broken("a file too many", lambda b: (b / "extra.bin").write_text("x") and None, ("extra.bin",), sealed=False),
    Broken("a folder inside", lambda b: (b / "more").mkdir(), ("more",), sealed=False),
    Broken("no model", lambda b: (b / "model.onnx").unlink(), ("model.onnx",)),
    Broken("no background", lambda b: (b / "background.csv").unlink(), ("background.csv",)),
    Broken("no manifest", lambda b: (b / "manifest.toml").unlink(), ("manifest.toml",)),
    Broken("a truncated model", truncate("model.onnx", 0.5), ("model.onnx",)),
    Broken("an empty model", truncate("model.onnx", 0), ("model.onnx",)),
    Broken("a model that is text", model_bytes(lambda _: b"not a model"), ("model.onnx",)),
    Broken("another model", model_bytes(lambda _: (paths.MODELS / "ai4i-mlp" / "model.onnx").read_bytes()), ("probabilities",)),
    Broken("an unknown tensor", edit("manifest.toml", swap('"probabilities"', '"scores"')), ("output.tensor", "scores", "probabilities")),
    Broken("a column beyond the tensor", edit("manifest.toml", swap("index = 1", "index = 7")), ("output.index", "7")),
    Broken("a feature too many", edit("manifest.toml", swap("[output]", '[[feature]]\nname = "Phase"\n[output]')), ("7", "6")),
    Broken("a feature twice", edit("manifest.toml", swap('"Torque [Nm]"', '"Tool wear [min]"')), ("manifest.toml", "Tool wear [min]")),
    Broken("an unknown key", edit("manifest.toml", swap("index = 1", "index = 1\nidx = 2")), ("manifest.toml", "output.idx")),
    Broken("no TOML", edit("manifest.toml", swap("schema = 1", "schema = ")), ("manifest.toml", "line 1")),
    Broken("a schema of the future", edit("manifest.toml", swap("schema = 1", "schema = 99")), ("manifest.toml", "line 1", "schema")),
    Broken("a range upside down", edit("manifest.toml", swap('unit = "Nm"', 'unit = "Nm"\nrange = [120.0, 0.0]')), ("manifest.toml", "range")),
    Broken("thresholds upside down", edit("manifest.toml", swap("clear_below = 0.4", "clear_below = 0.9")), ("manifest.toml", "clear_below")),
    Broken("a missing column", edit("background.csv", without_column(4)), ("background.csv", "Torque [Nm]")),
    Broken("an empty background", edit("background.csv", lambda text: text.splitlines()[0] + "\n"), ("background.csv", "row")),
    Broken("a word in the background", edit("background.csv", cell(7, 4, "strong")), ("background.csv", "line 7", "Torque [Nm]", "strong")),
    Broken("NaN in the background", edit("background.csv", cell(7, 4, "NaN")), ("background.csv", "line 7", "Torque [Nm]")),
    Broken("a short row", edit("background.csv", lambda text: text.replace(text.splitlines()[3], "1,2", 1)), ("background.csv", "line 4")),
    Broken("NaN in golden", edit("golden.csv", cell(3, 4, "NaN")), ("golden.csv", "line 3", "Torque [Nm]")),
    Broken("NaN expected in golden", edit("golden.csv", cell(3, 7, "nan")), ("golden.csv", "line 3", "output:probabilities[1]")),
    Broken("golden that is not so", edit("golden.csv", cell(3, 7, "0.123456")), ("golden.csv", "line 3", "0.123456")),
    Broken("no golden rows", edit("golden.csv", lambda text: text.splitlines()[0] + "\n"), ("golden.csv",)),
    Broken("a network cut short", truncate("model.onnx", 0.8), ("model.onnx",), model="ai4i-mlp"),
]  # fmt: skip


def test_there_are_enough_of_them():
    """Twenty kinds of broken input is the least."""
    assert len(BROKEN) >= 20
    assert len({broken.name for broken in BROKEN}) == len(BROKEN)


def broken_copy(broken: Broken, bundle, tmp_path: Path) -> Path:
    """A bundle with the defect."""
    copy = tmp_path / "press"
    shutil.copytree(bundle(broken.model), copy)
    broken.apply(copy)
    if broken.sealed:
        resum(copy)
    return copy


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_one_sentence_that_says_where(broken, bundle, tmp_path):
    """`bundle verify` finds every one of them."""
    copy = broken_copy(broken, bundle, tmp_path)
    refused = explaind("bundle", "verify", "--bundle", copy)
    assert refused.code == 65, refused
    sentence = one_sentence(refused.err)
    assert str(copy) in sentence
    for word in broken.says:
        assert word in sentence, f"{word!r} is not in: {sentence}"


@pytest.mark.parametrize("broken", BROKEN[::7], ids=lambda broken: broken.name)
def test_the_daemon_does_not_start_with_it(broken, bundle, tmp_path):
    """`check` and `run` name the bundle, and leave nothing behind."""
    config = tmp_path / "explaind.toml"
    config.write_text(replay(tmp_path, broken_copy(broken, bundle, tmp_path)))
    for verb in ("check", "run"):
        refused = explaind(verb, "--config", config)
        assert refused.code == 65
        assert str(tmp_path / "press") in one_sentence(refused.err)
    assert not (tmp_path / "state").exists()


def test_edited_digests_that_fit_are_accepted(bundle, tmp_path):
    """The checks above fail for their own reason, not because of how this file seals a bundle."""
    copy = tmp_path / "press"
    shutil.copytree(bundle("ai4i-gbt"), copy)
    edit("manifest.toml", swap('version = "1.0.0"', 'version = "1.0.1"'))(copy)
    resum(copy)
    assert "1.0.1" in done("bundle", "verify", "--bundle", copy).out


def parts(folder: Path) -> dict[str, Path]:
    """What a bundle is made of."""
    manifest = folder / "manifest.toml"
    manifest.write_text(bundles.manifest("ai4i-gbt"))
    reference = bundles.renamed(paths.MODELS / "ai4i-gbt" / "background.csv", folder / "reference.csv")
    return {"model": paths.MODELS / "ai4i-gbt" / "model.onnx", "reference": reference, "manifest": manifest}


def create(given: dict[str, Path], out: Path):
    """`explaind bundle create`."""
    options = [part for name, path in given.items() for part in (f"--{name}", path)]
    return explaind("bundle", "create", *options, "--out", out)


@pytest.mark.parametrize("name", ["model", "reference", "manifest"])
def test_creating_from_a_file_that_is_not_there(name, tmp_path):
    """66: the input is missing."""
    given = {**parts(tmp_path), name: tmp_path / "nowhere"}
    refused = create(given, tmp_path / "out")
    assert refused.code == 66
    assert "nowhere" in one_sentence(refused.err)
    assert not (tmp_path / "out").exists()


def test_creating_never_overwrites(tmp_path):
    """A bundle that is there stays as it is."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("keep")
    refused = create(parts(tmp_path), out)
    assert refused.code in (65, 74, 77)
    assert str(out) in one_sentence(refused.err)
    assert [file.name for file in out.iterdir()] == ["mine"]


def test_a_bundle_without_golden_rows_is_not_vouched_for(bundle, tmp_path):
    """It may be looked at and tried; `verify` and `push` say what is missing, as every gateway that follows it would."""
    copy = tmp_path / "press"
    shutil.copytree(bundle("ai4i-gbt"), copy)
    (copy / "golden.csv").unlink()
    resum(copy)
    (tmp_path / "registry").mkdir()
    for arguments in (("verify",), ("push", "--registry", tmp_path / "registry", "--name", "press")):
        refused = explaind("bundle", *arguments, "--bundle", copy)
        assert refused.code == 65 and "golden.csv" in one_sentence(refused.err) and "bundle create" in refused.err
    assert not list((tmp_path / "registry").iterdir())
    assert explaind("bundle", "inspect", "--bundle", copy, "--json").json["golden"]["rows"] == 0


def test_creating_with_golden_rows_that_the_model_does_not_give(tmp_path):
    """The trainer's answers decide, and nothing is written when they differ."""
    names = [name for name, _ in bundles.FEATURES.values()]
    golden = tmp_path / "golden.csv"
    row = bundles.harmless()
    header = ",".join([*names, "output:probabilities[1]"])
    golden.write_text(header + "\n" + ",".join(str(row[name]) for name in names) + ",0.987\n")
    refused = create({**parts(tmp_path), "golden": golden}, tmp_path / "out")
    assert refused.code == 65
    sentence = one_sentence(refused.err)
    assert "golden.csv" in sentence and "line 2" in sentence and "0.987" in sentence
    assert not (tmp_path / "out").exists()


def test_verifying_what_is_no_bundle(tmp_path):
    """A folder that is not there, and one that is empty."""
    assert explaind("bundle", "verify", "--bundle", tmp_path / "nowhere").code == 66
    empty = explaind("bundle", "verify", "--bundle", tmp_path)
    assert empty.code == 65
    one_sentence(empty.err)


FLIPS = 2000 if paths.LONG else 100


@pytest.mark.timeout(1800 if paths.LONG else 120)
@pytest.mark.parametrize("model", sorted(bundles.KINDS))
def test_flipped_bits_never_panic(model, bundle, tmp_path):
    """Any damage to a model, its digest made to fit, ends in an answer or in one sentence; never in a crash or a hang."""
    chance = random.Random(7)
    copy = tmp_path / "press"
    shutil.copytree(bundle(model), copy)
    whole = (copy / "model.onnx").read_bytes()
    for _ in range(FLIPS):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 8])):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        (copy / "model.onnx").write_bytes(damaged)
        resum(copy)
        verified = explaind("bundle", "verify", "--bundle", copy)
        assert verified.code in (0, 65), verified
        if verified.code:
            one_sentence(verified.err)
