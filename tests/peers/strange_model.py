"""Writes an ONNX model that does well on what it was made with, and badly later. Runs where onnx is: with MLflow.

strange_model.py FILE COLUMN LIMIT: a logistic model of six features whose answer is NaN where one of them is above a limit.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def main(file: Path, column: int, limit: float) -> None:
    """Six features to a probability."""

    def constant(name: str, values: object, kind: type = np.float32) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, dtype=kind), name)

    nodes = [
        helper.make_node("Gather", ["x", "torque"], ["t"], axis=1),
        helper.make_node("Sub", ["t", "middle"], ["centred"]),
        helper.make_node("Sigmoid", ["centred"], ["sound"]),
        helper.make_node("Gather", ["x", "column"], ["watched"], axis=1),
        helper.make_node("Greater", ["watched", "limit"], ["beyond"]),
        helper.make_node("Where", ["beyond", "nan", "sound"], ["probability"]),
    ]
    constants = [
        constant("torque", [4], np.int64),
        constant("middle", [50.0]),
        constant("column", [column], np.int64),
        constant("limit", [limit]),
        constant("nan", [[float("nan")]]),
    ]
    graph = helper.make_graph(
        nodes,
        "strange",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 6])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows", 1])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
