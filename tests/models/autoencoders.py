"""Makes `autoencoders/`: two small autoencoders over AI4I 2020's sensors, with onnxruntime's answers and Shapley values.

    python tests/models/autoencoders.py

`linear.onnx` keeps three principal components of the scaled sensors, so its squared error is quadratic; `bent.onnx` puts
a Relu between two layers that are fitted to them, and takes windows of four rows. Versions: numpy 2.4.6, onnx 1.23.2,
onnxruntime 1.31.1. `golden.json` has for each model rows (`x`), the tensor (`outputs`), the score (the mean squared
difference between the two), its parts per sensor, and Shapley values of the score by enumerating all coalitions.
"""

import csv
import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
SENSORS = ["air_temperature_k", "process_temperature_k", "rotational_speed_rpm", "torque_nm", "tool_wear_min"]
STEPS = 4
KEPT = 3
ROWS = 12


def sensors(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[name]) for name in SENSORS] for row in rows])


def model(nodes, constants, shape):
    graph = helper.make_graph(
        nodes,
        "autoencoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *shape])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items() if name != "to"]
        + ([numpy_helper.from_array(np.asarray(constants["to"], np.int64), "to")] if "to" in constants else []),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def linear(scaled):
    _, _, axes = np.linalg.svd(scaled - scaled.mean(0), full_matrices=False)
    constants = {"mean": scaled.mean(0), "down": axes[:KEPT].T, "up": axes[:KEPT]}
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("MatMul", ["centred", "down"], ["code"]),
        helper.make_node("MatMul", ["code", "up"], ["rebuilt"]),
        helper.make_node("Add", ["rebuilt", "mean"], ["y"]),
    ]
    return model(nodes, constants, [len(SENSORS)])


def bent(windows, random):
    flat = windows.reshape(len(windows), -1)
    down = random.normal(size=(flat.shape[1], 8)) / math.sqrt(flat.shape[1])
    code = np.maximum(flat @ down, 0)
    up, *_ = np.linalg.lstsq(code, flat, rcond=None)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "down"], ["before"]),
        helper.make_node("Relu", ["before"], ["code"]),
        helper.make_node("MatMul", ["code", "up"], ["rebuilt"]),
        helper.make_node("Reshape", ["rebuilt", "to"], ["y"]),
    ]
    return model(nodes, {"down": down, "up": up, "to": [-1, STEPS, len(SENSORS)]}, [STEPS, len(SENSORS)])


def answers(made, background, rows):
    """Rows of [steps, sensors]; a sensor's steps change together."""
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = [len(SENSORS)] if background.shape[1] == 1 else list(background.shape[1:])

    def tensor(x):
        return session.run(["y"], {"x": x.reshape(len(x), *shape).astype(np.float32)})[0].reshape(x.shape).astype(float)

    def score(x):
        return ((x - tensor(x)) ** 2).mean(axis=(1, 2))

    players = range(len(SENSORS))
    golden = []
    for x in rows:
        worth = {}
        for size in range(len(SENSORS) + 1):
            for coalition in combinations(players, size):
                mixed = background.copy()
                mixed[:, :, coalition] = x[:, coalition]
                worth[coalition] = score(mixed).mean()
        shap = []
        for player in players:
            share = 0.0
            for coalition, value in worth.items():
                if player not in coalition:
                    size = len(coalition)
                    weight = math.factorial(size) * math.factorial(len(SENSORS) - size - 1) / math.factorial(len(SENSORS))
                    share += weight * (worth[tuple(sorted((*coalition, player)))] - value)
            shap.append(share)
        y = tensor(x[None])[0]
        parts = ((x - y) ** 2).sum(axis=0) / x.size
        golden.append(
            {
                "x": x.ravel().tolist(),
                "outputs": y.ravel().tolist(),
                "score": float(score(x[None])[0]),
                "parts": parts.tolist(),
                "shap": shap,
            }
        )
    return {"base_value": float(score(background).mean()), "background": background.reshape(len(background), -1).tolist(), "rows": golden}


def main():
    raw = sensors(HERE / "ai4i-gbt" / "background.csv")
    scaled = ((raw - raw.mean(0)) / raw.std(0)).astype(np.float32).astype(float)
    windows = np.stack([scaled[i : i + STEPS] for i in range(len(scaled) - STEPS)])
    random = np.random.default_rng(7)
    out = HERE / "autoencoders"
    out.mkdir(exist_ok=True)
    made = {
        "linear": (linear(scaled), scaled[:40, None, :]),
        "bent": (bent(windows, random), windows[:40]),
    }
    golden = {}
    for name, (network, background) in made.items():
        onnx.save(network, out / f"{name}.onnx")
        rows = (random.normal(size=(ROWS, *background.shape[1:])) * 1.5).astype(np.float32).astype(float)
        golden[name] = answers(network, background, rows)
    (out / "golden.json").write_text(json.dumps({"features": SENSORS, "steps": STEPS, **golden}) + "\n")


main()
