#!/usr/bin/env python3
"""Trains the demo's two models on AI4I 2020 and writes the sources of their bundles to models/<name>/.

    python3 -m venv /tmp/train && /tmp/train/bin/pip install -r requirements.txt && /tmp/train/bin/python train.py

Two runs with the same versions write the same bytes. Per model:

    model.onnx      the model
    manifest.toml   what explaind must know about it
    reference.csv   100 training rows, in the share of failures that training had: the background of explanations
    golden.csv      50 held-out rows with what onnxruntime answers, for the device to replay
    metrics.json    quality on the held-out rows
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # sums in one order, so that two runs agree to the last bit; read when numpy loads

import csv
import hashlib
import json
import tomllib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
SEED = 2020
OPSETS = {"": 17, "ai.onnx.ml": 1}
IR_VERSION = 8  # goes with opset 17; runtimes on older gateways refuse newer files
CATEGORIES = {"L": 0, "M": 1, "H": 2}
BACKGROUND_ROWS = 100
GOLDEN_ROWS = 50
EPOCHS = 300

FEATURES = """\
[[feature]]
name = "Type"                          # the product's quality: low, medium, high
categories = { L = 0, M = 1, H = 2 }

[[feature]]
name = "Air temperature [K]"
unit = "K"
range = [273.0, 323.0]                 # what the sensor can mean; outside is bad input, not a hot day

[[feature]]
name = "Process temperature [K]"
unit = "K"
range = [273.0, 373.0]

[[feature]]
name = "Rotational speed [rpm]"
unit = "rpm"
range = [0.0, 3500.0]
adjustable = [1200.0, 2800.0]          # what a person may set

[[feature]]
name = "Torque [Nm]"
unit = "Nm"
range = [0.0, 120.0]
adjustable = [10.0, 65.0]

[[feature]]
name = "Tool wear [min]"
unit = "min"
range = [0.0, 400.0]
"""
NAMES = [feature["name"] for feature in tomllib.loads(FEATURES)["feature"]]


@dataclass(frozen=True)
class Data:
    """One part of the rows: features as the device will have them (float32), and whether the machine failed."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Recipe:
    """A model of the demo: how it is trained, how it becomes ONNX, and what its manifest says."""

    name: str
    estimator: object
    export: object
    tensor: str
    index: int
    priority: str
    consequence: str
    response: str


def read() -> tuple[Data, Data]:
    """The training rows (about 60 %) and the held-out rows.

    The part is a function of the row's product id alone, so it does not change with order, seed or library.
    """
    with open(HERE / "ai4i2020.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    x = np.array([[CATEGORIES.get(row[name], row[name]) for name in NAMES] for row in rows], dtype=np.float32)
    y = np.array([int(row["Machine failure"]) for row in rows])
    digests = [hashlib.sha256(row["Product ID"].encode()).digest() for row in rows]
    training = np.array([int.from_bytes(digest[:4], "big") % 5 < 3 for digest in digests])
    return Data(x[training], y[training]), Data(x[~training], y[~training])


def floor32(threshold: float) -> np.float32:
    """The largest float32 that is not above a double.

    scikit-learn compares the row's float32 with a double threshold, ONNX with a float32. Rounding the threshold to the
    nearest float32 may lift it over the next float32 a row can hold, which then takes the other branch. Rounded
    down, `x <= threshold` answers the same for every float32 x.
    """
    nearest = np.float32(threshold)
    return np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > threshold else nearest


def export_trees(forest: GradientBoostingClassifier) -> onnx.ModelProto:
    """The boosted trees as one TreeEnsembleClassifier whose branches are scikit-learn's, bit for bit."""
    model = to_onnx(
        forest,
        initial_types=[("input", FloatTensorType([None, len(NAMES)]))],
        options={id(forest): {"zipmap": False}},
        target_opset=OPSETS,
    )
    node = next(node for node in model.graph.node if node.op_type == "TreeEnsembleClassifier")
    attributes = {attribute.name: attribute for attribute in node.attribute}
    values = list(attributes["nodes_values"].floats)
    places = zip(attributes["nodes_treeids"].ints, attributes["nodes_nodeids"].ints, strict=True)
    for place, (tree, number) in enumerate(places):
        source = forest.estimators_[tree, 0].tree_
        if source.children_left[number] >= 0:  # an inner node
            assert attributes["nodes_modes"].strings[place] == b"BRANCH_LEQ"
            assert attributes["nodes_featureids"].ints[place] == source.feature[number]
            values[place] = floor32(source.threshold[number])
    attributes["nodes_values"].floats[:] = values
    model.graph.name = "press-failure"
    model.ir_version = IR_VERSION
    return model


def export_network(pipeline: object) -> onnx.ModelProto:
    """The network as Sub, Mul, Gemm/Relu twice, Gemm, Sigmoid: standardisation inside, raw units outside."""
    scaler, network = pipeline[0], pipeline[1]
    tensors = {"mean": scaler.mean_, "scale": 1.0 / scaler.scale_}
    nodes = [
        helper.make_node("Sub", ["input", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["layer0"]),
    ]
    last = len(network.coefs_) - 1
    for layer, (weight, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        tensors |= {f"weight{layer}": weight.T, f"bias{layer}": bias}
        inputs = [f"layer{layer}", f"weight{layer}", f"bias{layer}"]
        nodes.append(helper.make_node("Gemm", inputs, [f"sum{layer}"], transB=1))
        out = "probability" if layer == last else f"layer{layer + 1}"
        nodes.append(helper.make_node("Sigmoid" if layer == last else "Relu", [f"sum{layer}"], [out]))
    graph = helper.make_graph(
        nodes,
        "press-network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", len(NAMES)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    opset = [helper.make_opsetid("", OPSETS[""])]
    return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="train.py")


def recipes() -> list[Recipe]:
    """The demo's two models. Their sizes were chosen by cross-validation on the training rows."""
    trees = GradientBoostingClassifier(
        n_estimators=150, max_depth=4, learning_rate=0.1, subsample=0.8, min_samples_leaf=10, random_state=SEED
    )
    network = MLPClassifier(
        (48, 24), alpha=0.03, batch_size=64, max_iter=EPOCHS, n_iter_no_change=EPOCHS, random_state=SEED
    )
    return [
        Recipe(
            name="press-failure",
            estimator=trees,
            export=export_trees,
            tensor="probabilities",
            index=1,
            priority="high",
            consequence="The machine stops in the middle of a part, and the tool may break.",
            response="Finish the part, then bring the values named above back to their usual range or change the tool.",
        ),
        Recipe(
            name="press-network",
            estimator=make_pipeline(StandardScaler(), network),
            export=export_network,
            tensor="probability",
            index=0,
            priority="medium",
            consequence="The machine may stop before the shift ends.",
            response="Look at the values named above at the next change of part.",
        ),
    ]


def choose_threshold(estimator: object, training: Data) -> float:
    """The threshold with the best F1 on training rows, each judged by models that had not seen it.

    Failures are few, so one cross-validation scatters; three are averaged.
    """
    rounds = []
    for seed in range(SEED, SEED + 3):
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        scores = cross_val_predict(estimator, training.x, training.y, cv=folds, method="predict_proba")[:, 1]
        rounds.append(scores)
    candidates = [step / 100 for step in range(10, 91)]
    return max(candidates, key=lambda threshold: sum(f1_score(training.y, scores > threshold) for scores in rounds))


def run(model: onnx.ModelProto, tensor: str, x: np.ndarray) -> np.ndarray:
    """What onnxruntime answers."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([tensor], {"input": x})[0]


def assert_same_function(recipe: Recipe, model: onnx.ModelProto, x: np.ndarray) -> float:
    """The export must answer as the trained model does, on the rows and on the floats next to them."""
    rows = np.vstack([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))])
    exported = run(model, recipe.tensor, rows)[:, recipe.index]
    worst = float(np.abs(exported - recipe.estimator.predict_proba(rows)[:, 1]).max())
    assert worst < 1e-5, f"{recipe.name}: the ONNX file is off by {worst} from what was trained"
    return worst


def measure(scores: np.ndarray, training: Data, held_out: Data, threshold: float, worst: float) -> dict:
    """Quality on the held-out rows, at the threshold that the alert is raised above."""
    alerted = scores > threshold
    return {
        "training_rows": len(training.y),
        "training_failures": int(training.y.sum()),
        "held_out_rows": len(held_out.y),
        "held_out_failures": int(held_out.y.sum()),
        "threshold": threshold,
        "precision": round(precision_score(held_out.y, alerted), 4),
        "recall": round(recall_score(held_out.y, alerted), 4),
        "f1": round(f1_score(held_out.y, alerted), 4),
        "auc": round(roc_auc_score(held_out.y, scores), 4),
        "largest_difference_to_trained": float(f"{worst:.1e}"),
    }


def sample(data: Data, rows: int, failures: int) -> np.ndarray:
    """Rows drawn without replacement, so many of them failures, in the order of the data."""
    rng = np.random.default_rng(SEED)
    failed = rng.choice(np.flatnonzero(data.y == 1), failures, replace=False)
    healthy = rng.choice(np.flatnonzero(data.y == 0), rows - failures, replace=False)
    return data.x[np.sort(np.concatenate([failed, healthy]))]


def write_csv(path: Path, columns: list[str], rows: np.ndarray, **same: str) -> None:
    """Float32 values in the fewest digits that read back as the same float32; then columns that never change."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, *same.keys()])
        for row in rows:
            writer.writerow([*(np.format_float_positional(value, trim="-") for value in row), *same.values()])


def manifest(recipe: Recipe, threshold: float) -> str:
    """The manifest, as a person would write it."""
    return f"""\
# Written by train.py.
schema = 1
name = "{recipe.name}"
version = "1.0.0"

[input]
kind = "row"

{FEATURES}
[output]
kind = "classification"
tensor = "{recipe.tensor}"
index = {recipe.index}
labels = ["healthy", "failure"]

[decision]
raise_above = {threshold:.2f}                     # where F1 was best in cross-validation on the training rows
clear_below = {threshold * 0.9:.2f}                     # a little lower, so that a value at the threshold does not flutter
on_delay = "0s"                        # every row of the demo is another part: none waits for the next one
off_delay = "0s"
priority = "{recipe.priority}"
consequence = "{recipe.consequence}"
response = "{recipe.response}"

[explanation]
background_rows = {BACKGROUND_ROWS}
"""


def write(recipe: Recipe, training: Data, held_out: Data) -> dict:
    """Trains, exports, checks and writes one model."""
    threshold = choose_threshold(recipe.estimator, training)
    recipe.estimator.fit(training.x, training.y)
    model = recipe.export(recipe.estimator)
    onnx.checker.check_model(model, full_check=True)
    worst = assert_same_function(recipe, model, np.vstack([training.x, held_out.x]))
    scores = run(model, recipe.tensor, held_out.x)[:, recipe.index]
    metrics = measure(scores, training, held_out, threshold, worst)

    folder = HERE / "models" / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "manifest.toml").write_text(manifest(recipe, threshold), encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    failures = round(BACKGROUND_ROWS * training.y.mean())
    write_csv(folder / "reference.csv", NAMES, sample(training, BACKGROUND_ROWS, failures))
    golden = sample(held_out, GOLDEN_ROWS, GOLDEN_ROWS // 2)
    outputs = run(model, recipe.tensor, golden)
    columns = NAMES + [f"output:{recipe.tensor}[{column}]" for column in range(outputs.shape[1])]
    write_csv(folder / "golden.csv", columns, np.hstack([golden, outputs]), origin="trainer")
    return metrics


def main() -> None:
    """Both models."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # the network's epochs are counted, not waited out
    training, held_out = read()
    for recipe in recipes():
        print(recipe.name, json.dumps(write(recipe, training, held_out)))


if __name__ == "__main__":
    main()
