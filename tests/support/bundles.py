"""Bundles, made by the binary from the reference models in `tests/models`."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .cli import done
from .paths import MODELS

# The features of the AI4I models: the column in the reference files, the feature's name here, and its unit.
FEATURES = {
    "type": ("Type", ""),
    "air_temperature_k": ("Air temperature [K]", "K"),
    "process_temperature_k": ("Process temperature [K]", "K"),
    "rotational_speed_rpm": ("Rotational speed [rpm]", "rpm"),
    "torque_nm": ("Torque [Nm]", "Nm"),
    "tool_wear_min": ("Tool wear [min]", "min"),
}

# What a person may set.
ADJUSTABLE = {"Rotational speed [rpm]": "[1200.0, 2800.0, 10.0]", "Torque [Nm]": "[10.0, 65.0]"}

# What the words of the feature "Type" stand for.
CATEGORIES = {"L": 0, "M": 1, "H": 2}


@dataclass(frozen=True)
class Kind:
    """What a manifest says of one reference model."""

    tensor: str
    index: int
    # Where the reference answers are: the name of the attributions and of their base.
    attributions: str = "shap"
    base: str = "base_value"
    tolerance: float = 1e-5


KINDS = {
    "ai4i-gbt": Kind("probabilities", 1, "shap_margin", "base_value_margin"),
    "ai4i-forest": Kind("probabilities", 1),
    "ai4i-mlp": Kind("probability", 0, tolerance=1e-4),
}


def golden(model: str) -> dict:
    """The reference answers for a model."""
    return json.loads((MODELS / model / "golden.json").read_text())


def row(model: str, number: int) -> dict[str, float]:
    """A reference row as feature name and value."""
    reference = golden(model)
    values = reference["rows"][number]["x"]
    return {FEATURES[column][0]: value for column, value in zip(reference["features"], values, strict=True)}


def alarming(model: str = "ai4i-gbt") -> dict[str, float]:
    """The reference row that the model is most alarmed about."""
    return _extreme(model, max)


def harmless(model: str = "ai4i-gbt") -> dict[str, float]:
    """The reference row that it is least alarmed about."""
    return _extreme(model, min)


def _extreme(model: str, choose) -> dict[str, float]:
    kind = KINDS[model]
    rows = golden(model)["rows"]
    return row(model, choose(range(len(rows)), key=lambda i: rows[i]["outputs"][kind.tensor][kind.index]))


def manifest(model: str, max_age: str | None = None, decision: str | None = None, version: str = "1.0.0", name: str | None = None) -> str:
    """The text of a manifest for a reference model."""
    kind = KINDS[model]
    text = ["schema = 1", f'name = "{name or model}"', f'version = "{version}"', ""]
    for name, unit in FEATURES.values():
        text += ["[[feature]]", f'name = "{name}"']
        text += [f'unit = "{unit}"'] if unit else ["categories = { L = 0, M = 1, H = 2 }"]
        text += [f'max_age = "{max_age}"'] if max_age else []
        text += [f"adjustable = {ADJUSTABLE[name]}"] if name in ADJUSTABLE else []
        text += [""]
    text += ["[output]", 'kind = "classification"', f'tensor = "{kind.tensor}"', f"index = {kind.index}"]
    text += ['labels = ["healthy", "failure"]', ""]
    text += [decision or '[decision]\nraise_above = 0.5\nclear_below = 0.4\npriority = "high"\n']
    return "\n".join(text)


def make(out: Path, model: str = "ai4i-gbt", **options) -> Path:
    """Makes a bundle in `out` from a reference model; options as for `manifest`."""
    scratch = out.with_name(out.name + "-parts")
    scratch.mkdir(parents=True)
    (scratch / "manifest.toml").write_text(manifest(model, **options))
    reference = renamed(MODELS / model / "background.csv", scratch / "reference.csv")
    done(
        "bundle", "create", "--model", MODELS / model / "model.onnx", "--reference", reference,
        "--manifest", scratch / "manifest.toml", "--out", out,
    )  # fmt: skip
    shutil.rmtree(scratch)
    return out


def renamed(source: Path, target: Path) -> Path:
    """Copies a reference CSV, its columns named as the manifests here name the features."""
    with source.open(newline="") as file:
        header, *rows = csv.reader(file)
    with target.open("w", newline="") as file:
        csv.writer(file).writerows([[FEATURES[column][0] for column in header], *rows])
    return target


def answers(bundle: Path, value: Callable[[list[float]], float]) -> None:
    """Has the golden rows say what a model that gives one number `y` answers, in place of what they said of another model."""
    with (bundle / "golden.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    columns = [header.index(name) for name, _ in FEATURES.values()]
    taken = [[row[column] for column in columns] for row in rows]
    said = [[*row, repr(value([float(CATEGORIES.get(cell, cell)) for cell in row]))] for row in taken]
    with (bundle / "golden.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[header[column] for column in columns] + ["output:y[0]"], *said])


def write_rows(target: Path, rows: list[dict[str, float]]) -> Path:
    """A CSV with one column per feature."""
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return target
