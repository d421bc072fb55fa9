"""`explaind explain` against answers computed elsewhere: by onnxruntime, and by enumerating all coalitions."""

import csv
import json

import pytest

from support import bundles
from support.cli import done, explaind, one_sentence

MODELS = sorted(bundles.KINDS)


def reference(model: str):
    """Inputs, outputs, base value and attributions, as `golden.json` has them."""
    kind, answers = bundles.KINDS[model], bundles.golden(model)
    rows = answers["rows"]
    inputs = [bundles.row(model, number) for number in range(len(rows))]
    outputs = [row["outputs"][kind.tensor][kind.index] for row in rows]
    return inputs, outputs, answers[kind.base], [row[kind.attributions] for row in rows]


def within(ours: list[float], theirs: list[float], tolerance: float) -> None:
    """|Δ| ≤ tolerance · max(1, largest |reference|)."""
    worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    allowed = tolerance * max(1.0, *(abs(value) for value in theirs))
    assert worst <= allowed, f"off by {worst:.3g}, allowed is {allowed:.3g}"


def explain(bundle, rows, tmp_path, form="ndjson"):
    """All rows explained."""
    table = bundles.write_rows(tmp_path / "rows.csv", rows)
    return done("explain", "--bundle", bundle, "--input", table, "--format", form)


@pytest.mark.parametrize("model", MODELS)
def test_agrees_with_the_reference(model, bundle, tmp_path):
    """Predictions within 1e-6 of onnxruntime's, attributions within the tolerance of the model's kind."""
    inputs, outputs, base, attributions = reference(model)
    explained = explain(bundle(model), inputs, tmp_path).lines

    assert [line["row"] for line in explained] == list(range(len(inputs)))
    within([line["prediction"]["probability"] for line in explained], outputs, 1e-6)
    tolerance = bundles.KINDS[model].tolerance
    within([line["base_value"] for line in explained], [base] * len(explained), tolerance)
    names = [name for name, _ in bundles.FEATURES.values()]
    ours = [line["attributions"][name] for line in explained for name in names]
    within(ours, [value for row in attributions for value in row], tolerance)


@pytest.mark.parametrize("model", MODELS)
def test_says_how_it_was_computed(model, bundle, tmp_path):
    """Space, method and error are on every line, and the figures add up as they claim."""
    inputs, *_ = reference(model)
    for line in explain(bundle(model), inputs, tmp_path).lines:
        assert line["space"] == ("margin" if model == "ai4i-gbt" else "probability")
        assert line["method"] == ("enumeration" if model == "ai4i-mlp" else "tree-shapley")
        assert line["standard_error"] == 0.0
        assert line["prediction"]["label"] in ("healthy", "failure")
        gap = abs(line["base_value"] + sum(line["attributions"].values()) - line["output"])
        assert gap <= line["additivity_gap"] + 1e-9
        assert line["additivity_gap"] < 1e-4


def test_other_spaces_on_request(bundle, tmp_path):
    """A boosted ensemble, explained in its margin unless asked for the probability; a network has no margin."""
    inputs, _, _, _ = reference("ai4i-gbt")
    golden = bundles.golden("ai4i-gbt")
    table = bundles.write_rows(tmp_path / "rows.csv", inputs)
    asked = ["explain", "--bundle", bundle("ai4i-gbt"), "--input", table, "--format", "ndjson", "--space"]
    explained = done(*asked, "probability").lines
    assert {line["space"] for line in explained} == {"probability"}
    within([line["base_value"] for line in explained], [golden["base_value"]] * len(explained), 1e-5)
    names = [name for name, _ in bundles.FEATURES.values()]
    ours = [line["attributions"][name] for line in explained for name in names]
    within(ours, [value for row in golden["rows"] for value in row["shap"]], 1e-5)
    value = done(*asked, "value").lines
    assert [line["attributions"] for line in value] == [line["attributions"] for line in explained]
    assert {line["space"] for line in value} == {"value"}
    assert done(*asked, "margin").lines == explain(bundle("ai4i-gbt"), inputs, tmp_path).lines
    refused = explaind("explain", "--bundle", bundle("ai4i-mlp"), "--input", table, "--space", "margin")
    assert refused.code == 65 and "margin" in one_sentence(refused.err)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_input_gives_the_same_bytes(model, bundle, tmp_path):
    """Explanations are reproducible."""
    inputs, *_ = reference(model)
    assert explain(bundle(model), inputs, tmp_path).out == explain(bundle(model), inputs, tmp_path).out


def test_the_table_is_for_people(bundle, tmp_path):
    """The default format names every feature and the prediction."""
    table = bundles.write_rows(tmp_path / "rows.csv", [bundles.alarming()])
    shown = done("explain", "--bundle", bundle("ai4i-gbt"), "--input", table).out
    for name, _ in bundles.FEATURES.values():
        assert name in shown
    assert "failure" in shown


def test_categories_may_be_given_by_name(bundle, tmp_path):
    """`M` is what the manifest says it is."""
    row = bundles.alarming()
    names = {value: name for name, value in bundles.CATEGORIES.items()}
    named = {**row, "Type": names[row["Type"]]}
    explained = explain(bundle("ai4i-gbt"), [row, named], tmp_path).lines
    assert explained[0]["attributions"] == explained[1]["attributions"]


def test_columns_go_by_name_not_by_order(bundle, tmp_path):
    """Another order and a column too many change nothing."""
    row = bundles.alarming()
    shuffled = {"Product ID": "M14860", **dict(reversed(row.items()))}
    first = explain(bundle("ai4i-gbt"), [row], tmp_path).lines[0]
    assert explain(bundle("ai4i-gbt"), [shuffled], tmp_path).lines[0] == first


@pytest.mark.parametrize("model", MODELS)
def test_a_bundle_verifies_and_says_what_it_holds(model, bundle):
    """`verify` checks the digests and replays the golden rows."""
    verified = done("bundle", "verify", "--bundle", bundle(model)).out
    assert "golden" in verified and model in verified


def test_a_bundle_keeps_the_whole_reference_in_order(bundle):
    """A reference of at most `background_rows` rows is taken whole, so the answers above are against the same rows."""

    def rows(path):
        with path.open(newline="") as file:
            table = list(csv.reader(file))[1:]
        # A category may be written by its name.
        return [[float(bundles.CATEGORIES.get(value, value)) for value in row] for row in table]

    for model in MODELS:
        assert rows(bundle(model) / "background.csv") == rows(bundles.MODELS / model / "background.csv")


def test_a_row_unlike_any_other_is_explained_and_an_impossible_one_refused(bundle, tmp_path):
    """Far from the background the figures stay finite; what is no number, or no category, is named by its place."""
    row = bundles.alarming("ai4i-mlp")
    far = {name: value if name == "Type" else value * 3 for name, value in row.items()}
    line = explain(bundle("ai4i-mlp"), [far], tmp_path).lines[0]
    assert json.dumps(line, allow_nan=False)
    for feature, value in (("Torque [Nm]", "inf"), ("Torque [Nm]", "strong"), ("Type", "X")):
        bad = bundles.write_rows(tmp_path / "bad.csv", [row, {**row, feature: value}])
        refused = explaind("explain", "--bundle", bundle("ai4i-mlp"), "--input", bad)
        assert refused.code == 65
        sentence = one_sentence(refused.err)
        assert "bad.csv, line 3" in sentence and feature in sentence and value in sentence


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "BOM"])
@pytest.mark.parametrize("empty", [0, 2], ids=["dense", "empty-lines"])
@pytest.mark.parametrize("cells", ["inf", "1,2"], ids=["no number", "short row"])
def test_a_mistake_is_found_by_the_line_that_an_editor_shows(end, mark, empty, cells, bundle, tmp_path):
    """Whatever wrote the file."""
    row = bundles.harmless()
    good = ",".join(str(value) for value in row.values())
    bad = cells if "," in cells else ",".join([*(str(value) for value in row.values())][:-1] + [cells])
    lines = [",".join(row), good, good, *[""] * empty, bad, good]
    table = tmp_path / "rows.csv"
    table.write_bytes((mark + end.join(lines) + end).encode())
    refused = explaind("explain", "--bundle", bundle("ai4i-gbt"), "--input", table)
    assert refused.code == 65
    assert f"rows.csv, line {4 + empty}" in one_sentence(refused.err)
