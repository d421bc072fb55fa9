"""A model that takes windows: from a file, and live on the last cycles of an engine."""

import csv
import json

import pytest

from support import scene
from support.bundles import golden
from support.cli import done
from support.paths import MODELS
from support.wait import until

MODEL = "cmapss-rul-cnn"
STEPS = 30
SENSORS = golden(MODEL)["features"]
ENGINE = MODELS / MODEL / "engine.csv"

MANIFEST = f"""schema = 1
name = "{MODEL}"
version = "1.0.0"
[input]
kind = "window"
steps = {STEPS}
[output]
kind = "regression"
tensor = "rul"
[decision]
raise_below = 20.0
clear_above = 30.0
""" + "".join(f'[[feature]]\nname = "{sensor}"\n' for sensor in SENSORS)


@pytest.fixture(scope="module")
def window_bundle(tmp_path_factory):
    """The convolution's bundle."""
    folder = tmp_path_factory.mktemp("windows")
    (folder / "manifest.toml").write_text(MANIFEST)
    made = done(
        "bundle", "create", "--model", MODELS / MODEL / "model.onnx", "--manifest", folder / "manifest.toml",
        "--reference", MODELS / MODEL / "background.csv", "--out", folder / "bundle",
    )  # fmt: skip
    assert "14 features, 100 background rows, 50 golden rows" in made.out
    return folder / "bundle"


def explained(bundle, windows, folder):
    """What `explaind explain` says of windows, given as lists of values in model order."""
    table = folder / "windows.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(f"{sensor}@{step}" for step in range(STEPS) for sensor in SENSORS)
        writer.writerows(windows)
    return done("explain", "--bundle", bundle, "--input", table, "--format", "ndjson")


def settled(gateway):
    """The predictions whose explanation is settled, the newest first."""
    return [made for made in gateway.get("predictions", limit=100) if made["explanation_status"] != "pending"]


def test_windows_of_a_file_are_explained_within_their_standard_error(window_bundle, tmp_path):
    """Predictions as onnxruntime's; attributions within what they say of themselves; intervals that add up."""
    answers = golden(MODEL)
    windows = [row["x"] for row in answers["rows"]]
    shown = explained(window_bundle, windows, tmp_path)
    assert shown.out == explained(window_bundle, windows, tmp_path).out, "the same input gives the same bytes"
    for line, row in zip(shown.lines, answers["rows"], strict=True):
        assert line["prediction"]["value"] == pytest.approx(row["outputs"]["rul"][0], rel=1e-6)
        assert (line["method"], line["space"]) == ("sampling", "value")
        assert line["base_value"] == pytest.approx(answers["base_value"], rel=1e-5)
        # The line states the largest of fourteen standard errors.
        for sensor, expected in zip(SENSORS, row["shap"], strict=True):
            assert abs(line["attributions"][sensor] - expected) <= 4 * line["standard_error"]
        assert line["additivity_gap"] < 1e-4
        assert line["intervals"]
        for sensor, stretches in line["intervals"].items():
            assert sum(part["value"] for part in stretches) == pytest.approx(line["attributions"][sensor])
            assert [stretches[0]["from"], stretches[-1]["to"]] == [0, STEPS]


def test_an_engine_near_its_end_is_watched_live(daemon, window_bundle, tmp_path):
    """Withheld until the window is full; then every prediction can be made again from its own record."""
    with ENGINE.open(newline="") as file:
        cycles = [[float(value) for value in row] for row in list(csv.reader(file))[1:]]
    signals = "".join(f'[[source.signal]]\nname = "{sensor}"\ncolumn = "{sensor}"\n' for sensor in SENSORS)
    inputs = {sensor: f"recorded/{sensor}" for sensor in SENSORS}
    config = f"""{scene.head()}
[[source]]
name = "recorded"
type = "replay"
path = "{ENGINE}"
interval = "20ms"
{signals}
{scene.asset(window_bundle, inputs, f'on = "recorded/{SENSORS[-1]}"', name="engine-34")}
"""
    gateway = daemon(config)
    until(
        lambda: len(settled(gateway)) == len(cycles),
        "all cycles to be predicted and explained",
        60,
    )
    predictions = settled(gateway)[::-1]
    filling, made = predictions[: STEPS - 1], predictions[STEPS - 1 :]
    assert {p["outcome"] for p in filling} == {"withheld"}
    assert filling[-1]["withheld_reason"].startswith("window_filling: 29 of 30")
    assert {p["outcome"] for p in made} == {"predicted"} and len(made) == len(cycles) - STEPS + 1
    assert {p["explanation_status"] for p in made} == {"estimated"}
    windows = [[p["inputs"][f"{s}@{step}"] for step in range(STEPS) for s in SENSORS] for p in made]
    assert windows == [sum(cycles[end - STEPS : end], []) for end in range(STEPS, len(cycles) + 1)]
    for line, prediction in zip(explained(window_bundle, windows, tmp_path).lines, made, strict=True):
        assert line["output"] == pytest.approx(prediction["output"], rel=1e-6)
    assert gateway.get("alerts"), "seven cycles before its end the engine has raised an alert"
    pace = json.loads((gateway.state / "pace.json").read_text())
    assert len(pace["rows_per_second"]) == 1 and all(rows > 100 for rows in pace["rows_per_second"].values())
