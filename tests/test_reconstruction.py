"""An autoencoder over windows, from the sensors to the page and the records: which sensor, and when."""

import csv
import json

import pandas as pd
import pytest
from playwright.sync_api import expect

from support import records, scene
from support.browser import DESK, PHONE, TABLET, Visit, chromium
from support.cli import done
from support.page import sign_in
from support.paths import MODELS
from support.wait import until

FOLDER = MODELS / "autoencoders"
GOLDEN = json.loads((FOLDER / "golden.json").read_text())
SENSORS, STEPS = GOLDEN["features"], GOLDEN["steps"]

MANIFEST = f"""schema = 1
name = "autoencoder"
version = "1.0.0"
[input]
kind = "window"
steps = {STEPS}
[output]
kind = "reconstruction"
tensor = "y"
[decision]
raise_above = 0.001
""" + "".join(f'[[feature]]\nname = "{sensor}"\n' for sensor in SENSORS)


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory):
    """The autoencoder's bundle."""
    folder = tmp_path_factory.mktemp("autoencoder")
    (folder / "manifest.toml").write_text(MANIFEST)
    with (folder / "reference.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(f"{sensor}@{step}" for step in range(STEPS) for sensor in SENSORS)
        writer.writerows(GOLDEN["bent"]["background"])
    done(
        "bundle", "create", "--model", FOLDER / "bent.onnx", "--manifest", folder / "manifest.toml",
        "--reference", folder / "reference.csv", "--out", folder / "bundle",
    )  # fmt: skip
    return folder / "bundle"


@pytest.fixture
def gateway(daemon, bundle_folder, tmp_path):
    """A machine whose values the model cannot give again."""
    window = GOLDEN["bent"]["rows"][0]["x"]
    rows = [window[step * len(SENSORS) : (step + 1) * len(SENSORS)] for step in range(STEPS)]
    with (tmp_path / "recorded.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(SENSORS)
        writer.writerows(rows)
    signals = "".join(f'[[source.signal]]\nname = "{sensor}"\ncolumn = "{sensor}"\n' for sensor in SENSORS)
    inputs = {sensor: f"recorded/{sensor}" for sensor in SENSORS}
    return daemon(f"""{scene.head()}
[[source]]
name = "recorded"
type = "replay"
path = "{tmp_path / "recorded.csv"}"
interval = "100ms"
{signals}
{scene.asset(bundle_folder, inputs, f'on = "recorded/{SENSORS[-1]}"')}
""")


def explained(gateway):
    """The one prediction there is: the file has as many rows as a window."""

    def found():
        made = [one for one in gateway.predictions() if one["outcome"] == "predicted"]
        return made[0] if made and made[0]["explanation_status"] != "pending" else None

    return until(found, "an explained window", 60)


def test_parts_and_stretches_are_the_same_in_the_answer_and_in_the_columns(gateway):
    """The API's figures are onnxruntime's, and what central reads is what the API says."""
    prediction = explained(gateway)
    reference = GOLDEN["bent"]["rows"][0]
    for sensor, part in zip(SENSORS, reference["parts"], strict=True):
        assert prediction["errors"][sensor] == pytest.approx(part, rel=1e-5)
    assert sum(prediction["errors"].values()) == pytest.approx(prediction["output"])
    for sensor, stretches in prediction["intervals"].items():
        assert [(part["from"], part["to"]) for part in stretches] == [(step, step + 1) for step in range(STEPS)]
        assert sum(part["value"] for part in stretches) == pytest.approx(prediction["attributions"][sensor])
    assert prediction["explanation"]["intervals"] == prediction["intervals"]

    def arrived():
        return records.batches(gateway.registry, scene.GATEWAY, "predictions")

    until(arrived, "a batch of predictions")
    frame = until(lambda: has(records.read(gateway.registry, scene.GATEWAY, "predictions"), prediction), "the record")
    row = frame[frame["record_id"] == prediction["id"]].iloc[0]
    assert row["schema_version"] == 5
    assert dict(row["errors"]) == prediction["errors"]
    assert {sensor: [dict(part) for part in parts] for sensor, parts in row["intervals"]} == prediction["intervals"]
    withheld = frame[frame["outcome"] == "withheld"]
    assert len(withheld) == STEPS - 1 and withheld["errors"].isna().all() and withheld["intervals"].isna().all()


def has(frame: pd.DataFrame, prediction: dict) -> pd.DataFrame | None:
    """The frame, once it holds the prediction."""
    return frame if prediction["id"] in set(frame["record_id"]) else None


def test_a_score_is_explained_as_a_value_and_as_nothing_else(gateway):
    """The own space is answered at once; others are refused in a sentence."""
    prediction = explained(gateway)
    path = f"predictions/{prediction['id']}"
    assert gateway.get(path, space="value") == gateway.get(path)
    for space in ("probability", "margin"):
        refused = gateway.call("GET", path, params={"space": space})
        assert refused.status_code == 422
        assert refused.json()["detail"] == f"this model has no {space}; it can be explained as value"


@pytest.mark.parametrize(("language", "viewport"), [("de", PHONE), ("en", TABLET), ("de", DESK)])
def test_the_card_says_when_and_how_much_in_tables(language, viewport, gateway):
    """By their roles, as a screen reader finds them; in the reader's language; without sideways scrolling."""
    prediction = explained(gateway)
    with chromium() as browser:
        visit = Visit(browser, gateway.url, viewport, locale={"de": "de-DE", "en": "en-GB"}[language])
        page = visit.page
        sign_in(page)
        expect(page.locator("html")).to_have_attribute("lang", language)
        reasons = page.locator(".reasons")
        caption = {"de": "Über die Zeit, nach Messung: 1 ist", "en": "Over time, by measurement: 1 is"}[language]
        times = page.get_by_role("table", name=caption)
        expect(times.get_by_role("columnheader")).to_have_text([str(step + 1) for step in range(STEPS)])
        expect(times.get_by_role("cell")).to_have_count(STEPS * len(prediction["intervals"]))
        caption = {"de": "Wie weit die Werte", "en": "How far the values"}[language]
        errors = page.get_by_role("table", name=caption)
        expect(errors.get_by_role("rowheader")).to_have_count(len(SENSORS))
        worst = max(prediction["errors"], key=prediction["errors"].get)
        expect(errors.get_by_role("rowheader").first).to_have_text(worst, ignore_case=True)
        point = {"de": ",", "en": "."}[language]
        expect(reasons.locator(".share").first).to_contain_text(point)
        assert visit.overflow() <= 0 and visit.complaints == []
        visit.close()
