#!/usr/bin/env python3
"""Makes small random tree ensembles, and notes what onnxruntime answers for them.

    corpus.py OUT.json [COUNT] [FIRST_SEED]

Writes one JSON object a model: `onnx` (the file, in hexadecimal), `rows` (null for NaN) and `scores`, the output tensor.
Between them the models have every kind of split, missing values tracked either way, values equal to thresholds, one to three score
columns, base values, sums and averages, and each post-transform that explaind supports. Needs onnx and onnxruntime.
"""
import json
import random
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
GRID = [-1.5, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0]
WIDTH = 3


class Trees:
    """The parallel lists of an ensemble."""

    def __init__(self, random_, modes, missing, scores, weight):
        self.random, self.modes, self.missing, self.scores, self.weight = random_, modes, missing, scores, weight
        self.nodes = {key: [] for key in ("tree", "id", "feature", "mode", "value", "yes", "no", "missing")}
        self.leaves = {key: [] for key in ("tree", "node", "id", "weight")}

    def grow(self, tree, depth):
        self.count = 0
        self._node(tree, depth)

    def _node(self, tree, depth):
        me, place = self.count, len(self.nodes["id"])
        self.count += 1
        split = depth > 0 and self.random.random() < 0.85
        values = dict(tree=tree, id=me, feature=0, mode="LEAF", value=0.0, yes=0, no=0, missing=0)
        if split:
            values.update(feature=self.random.randrange(WIDTH), mode=self.random.choice(self.modes),
                          value=self.random.choice(GRID), missing=int(self.missing and self.random.random() < 0.5))
        for key, value in values.items():
            self.nodes[key].append(value)
        if split:
            self.nodes["yes"][place] = self._node(tree, depth - 1)
            self.nodes["no"][place] = self._node(tree, depth - 1)
        else:
            for score in self.scores:
                for key, value in dict(tree=tree, node=me, id=score, weight=self.weight()).items():
                    self.leaves[key].append(value)
        return me

    def attributes(self, prefix):
        n, w = self.nodes, self.leaves
        return {
            "nodes_treeids": n["tree"], "nodes_nodeids": n["id"], "nodes_featureids": n["feature"],
            "nodes_modes": n["mode"], "nodes_values": n["value"], "nodes_truenodeids": n["yes"],
            "nodes_falsenodeids": n["no"], "nodes_missing_value_tracks_true": n["missing"],
            f"{prefix}_treeids": w["tree"], f"{prefix}_nodeids": w["node"], f"{prefix}_ids": w["id"],
            f"{prefix}_weights": w["weight"],
        }


def model(seed):
    r = random.Random(seed)
    classifier = r.random() < 0.6
    count = r.choice([2, 2, 3]) if classifier else r.choice([1, 1, 3])
    scores = list(range(count))
    if classifier and count == 2:
        scores = r.choice([[0], [0], [1], [0, 1]])
    transforms = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"] if classifier or count > 1 else ["NONE"]
    negative = r.random() < 0.6
    trees = Trees(r, r.choice([[mode] for mode in MODES] + [MODES, MODES[:4], MODES[:4]]), r.random() < 0.5, scores,
                  lambda: round(r.uniform(-1.0 if negative else 0.0, 1.0), 3))
    total = r.randint(1, 12)
    for tree in range(total):
        trees.grow(tree, r.randint(0, 5))
    extra = {"post_transform": r.choice(transforms)}
    bases = [[], [r.uniform(-1, 1)]] if scores == [0] and count < 3 else [[]]
    if count == 3:
        bases.append([r.uniform(-1, 1) for _ in range(3)])
    base = r.choice(bases)
    if base:
        extra["base_values"] = base
    if classifier:
        extra["classlabels_int64s"] = list(range(count))
        node = helper.make_node("TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
                                **trees.attributes("class"), **extra)
    else:
        extra.update(n_targets=count, aggregate_function=r.choice(["SUM", "AVERAGE"]))
        node = helper.make_node("TreeEnsembleRegressor", ["x"], ["scores"], domain="ai.onnx.ml",
                                **trees.attributes("target"), **extra)
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, count])]
    graph = helper.make_graph([node], "corpus", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, WIDTH])],
                              outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def rows(seed):
    r = random.Random(seed + 1_000_000)
    values = GRID + [-0.0, float("nan"), 100.0, -100.0]
    return [[r.choice(values) if r.random() < 0.7 else r.uniform(-2, 2) for _ in range(WIDTH)] for _ in range(24)]


def main():
    out = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    onnxruntime.set_default_logger_severity(4)
    lines = []
    for seed in range(first, first + count):
        data = model(seed).SerializeToString()
        given = np.array(rows(seed), dtype=np.float32)
        (scores,) = onnxruntime.InferenceSession(data).run(["scores"], {"x": given})
        lines.append(json.dumps({
            "seed": seed,
            "onnx": data.hex(),
            "rows": [[None if np.isnan(v) else float(v) for v in row] for row in given],
            "scores": [[None if not np.isfinite(v) else float(v) for v in row] for row in scores.reshape(len(given), -1)],
        }))
    out.write_text("[\n" + ",\n".join(lines) + "\n]\n")


main()
