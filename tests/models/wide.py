#!/usr/bin/env python3
"""Makes small networks over so many features, and over windows, that they are estimated: for fuzzing and mutation.

    wide.py OUT.json

Writes one JSON object a network: `name`, `onnx` (the file, in hexadecimal), `width` (all values of an input: 18 features, or
3 steps of 17), `kind`, `space`, `tensor`. Needs `onnx` and `numpy`, as requirements-corpus.txt pins them.
"""
import json
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(5)
LINES = []


def write(name, model, width, kind, space, tensor):
    LINES.append(json.dumps({"name": name, "onnx": model.hex(), "width": width, "kind": kind, "space": space, "tensor": tensor}))


def network(nodes, shape, tensor, columns, **constants):
    """Nodes from "x" to `tensor`, with constants of these shapes."""
    held = [numpy_helper.from_array(random.normal(size=size).astype(np.float32), name) for name, size in constants.items()]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["N", columns])], held)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def main():
    dense = [node("Gemm", "x w b", "h"), node("Relu", "h", "r"), node("Gemm", "r v c", "o")]
    wide = {"w": (18, 4), "b": (4,), "v": (4, 2), "c": (2,)}
    numbers = dense[:-1] + [node("Gemm", "r v c", "scores")]
    write("dense", network(numbers, [18], "scores", 2, **wide), 18, "regression", "value", "scores")
    classes = network(dense + [node("Softmax", "o", "probabilities", axis=1)], [18], "probabilities", 2, **wide)
    write("dense-classes", classes, 18, "classification", "probability", "probabilities")
    again = network(
        [node("MatMul", "x w", "h"), node("Tanh", "h", "t"), node("MatMul", "t v", "variable")], [18], "variable", 18,
        w=(18, 3), v=(3, 18))
    write("dense-again", again, 18, "reconstruction", "value", "variable")
    convolved = network(
        [node("Transpose", "x", "t", perm=[0, 2, 1]), node("Conv", "t k", "h"), node("Relu", "h", "r"),
         node("Flatten", "r", "f"), node("MatMul", "f v", "scores")], [3, 17], "scores", 1, k=(2, 17, 2), v=(4, 1))
    write("convolved", convolved, 51, "regression", "value", "scores")
    flat = network(
        [node("Flatten", "x", "f"), node("Gemm", "f w b", "h"), node("Sigmoid", "h", "probabilities")], [3, 17],
        "probabilities", 1, w=(51, 1), b=(1,))
    write("window-classes", flat, 51, "classification", "probability", "probabilities")
    recurrent = network(
        [node("Transpose", "x", "t", perm=[1, 0, 2]), helper.make_node("GRU", ["t", "w", "r"], ["", "h"], hidden_size=2),
         node("Transpose", "h", "u", perm=[1, 0, 2]), node("Flatten", "u", "f"), node("MatMul", "f v", "scores")],
        [3, 17], "scores", 1, w=(1, 6, 17), r=(1, 6, 2), v=(2, 1))
    write("recurrent", recurrent, 51, "anomaly", "value", "scores")

    with open(sys.argv[1], "w") as file:
        file.write("[\n" + ",\n".join(LINES) + "\n]\n")


main()
