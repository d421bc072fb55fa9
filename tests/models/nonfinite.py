#!/usr/bin/env python3
"""Makes one small network per operator and length, and notes what onnxruntime answers where numbers are not finite.

    nonfinite.py OUT.json

Writes one JSON object a model: `name`, `onnx` (the file, in hexadecimal), `shape` (of one input), `rows` and `outputs`, with
"nan", "inf" and "-inf" for what is not finite. A row is mostly small numbers; one of its values is not finite, or the network
makes it so. Lengths are those at which vectorised code changes its ways. onnxruntime's LSTM and GRU hide NaN, as tract's do:
for recurrent networks the answers are computed here, by the operators' definitions. Whether its greatest of many is NaN where
one of them is follows from the place of that one: here it is at every place. A bound that is not given is none here, and the
largest float32 there. Needs onnx and onnxruntime.
"""
import json
import math
import sys

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

LENGTHS = (1, 4, 7, 8, 16, 65)
FEW = (1, 7, 65)
ODD = (math.nan, math.inf, -math.inf)
UNARY = {
    "Sigmoid": {}, "Tanh": {}, "Relu": {}, "Erf": {}, "Softplus": {}, "Softsign": {}, "Elu": {}, "Selu": {}, "Celu": {},
    "LeakyRelu": {"alpha": 0.1}, "HardSigmoid": {}, "HardSwish": {}, "ThresholdedRelu": {}, "Mish": {}, "Exp": {}, "Log": {},
    "Sqrt": {}, "Abs": {}, "Neg": {}, "Sign": {}, "Floor": {}, "Ceil": {}, "Round": {}, "Reciprocal": {}, "Sin": {}, "Cos": {},
    "Atan": {}, "Sinh": {}, "Cosh": {}, "Softmax": {"axis": 1}, "LogSoftmax": {"axis": 1},
}


def constant(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def file(nodes, constants=(), shape=("f",), opset=17):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, ["n", *shape])], [value("y", TensorProto.FLOAT, None)], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model.SerializeToString()


def node(operator, inputs, outputs=("y",), **attributes):
    return helper.make_node(operator, list(inputs), list(outputs), **attributes)


def one(operator, length, opset=17, **attributes):
    return file([node(operator, ["x"], **attributes)], shape=(length,), opset=opset)


def weights(*shape, scale=0.5):
    count = int(np.prod(shape))
    return (scale * np.sin(1 + np.arange(count, dtype=np.float64))).astype(np.float32).reshape(shape)


def rows_of(shape, places=None):
    """A finite row, and rows with each odd number at a place."""
    count = int(np.prod(shape))
    plain = (np.arange(count) % 5 * 0.5 - 1.0).astype(np.float32)
    rows = [plain]
    for at in places if places is not None else (count // 2,):
        for value in ODD:
            row = plain.copy()
            row[at] = value
            rows.append(row)
    return np.stack(rows)


def singles():
    for operator, attributes in UNARY.items():
        for length in LENGTHS:
            yield f"{operator} of {length}", one(operator, length, 18, **attributes), (length,)
    for length in LENGTHS:
        yield f"Gelu of {length}", one("Gelu", length, 20), (length,)
        yield f"Gelu by tanh of {length}", one("Gelu", length, 20, approximate="tanh"), (length,)
        low, high = constant("low", np.float32(-0.5)), constant("high", np.float32(0.75))
        yield f"Clip of {length}", file([node("Clip", ["x", "low", "high"])], [low, high], (length,)), (length,)
        yield f"Clip at its least of {length}", file([node("Clip", ["x", "low"])], [low], (length,)), (length,)
        yield f"Clip at its most of {length}", file([node("Clip", ["x", "", "high"])], [high], (length,)), (length,)
        yield f"Clip of opset 6 of {length}", file([node("Clip", ["x"], min=0.0, max=6.0)], shape=(length,), opset=9), (length,)
    for length in FEW:
        many = constant("w", weights(length))
        for operator in ("Max", "Min", "Mul", "Add", "Pow", "PRelu", "Div"):
            yield f"{operator} with many of {length}", file([node(operator, ["x", "w"])], [many], (length,)), (length,)
            if operator != "PRelu":
                yield (f"{operator} of two of {length}",
                       file([node("Neg", ["x"], ["z"]), node(operator, ["x", "z"])], shape=(length,)), (length,))
        for name, number in (("nought", 0.0), ("one", 1.0), ("half", 0.5)):
            alone = constant("w", np.float32(number))
            for operator in ("Max", "Min", "Mul", "Pow"):
                yield f"{operator} with {name} of {length}", file([node(operator, ["x", "w"])], [alone], (length,)), (length,)
        for operator in ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                         "ReduceLogSumExp", "ReduceProd"):
            how = {} if operator == "ReduceSum" else {"axes": [1]}
            inputs, constants = (["x", "a"], [constant("a", np.array([1]))]) if operator == "ReduceSum" else (["x"], [])
            yield f"{operator} of {length}", file([node(operator, inputs, **how)], constants, (length,)), (length,)
        yield (f"Swish of {length}",
               file([node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"])], shape=(length,)), (length,))
        yield (f"the difference of infinities of {length}",
               file([node("Mul", ["x", "a"], ["z"]), node("Sub", ["x", "z"], ["d"]), node("Sigmoid", ["d"])],
                    [constant("a", np.float32(2.0))], (length,)), (length,))
        yield (f"the logarithm of a negative of {length}",
               file([node("Log", ["x"], ["l"]), node("Tanh", ["l"])], shape=(length,)), (length,))
        yield (f"the root of a negative of {length}",
               file([node("Sqrt", ["x"], ["l"]), node("Relu", ["l"])], shape=(length,)), (length,))
        yield (f"putting in what is missing of {length}",
               file([node("IsNaN", ["x"], ["c"]), node("Where", ["c", "o", "x"], ["z"]), node("Tanh", ["z"])],
                    [constant("o", np.float32(0.5))], (length,)), (length,))
        yield (f"a comparison of {length}",
               file([node("Greater", ["x", "o"], ["c"]), node("Where", ["c", "x", "o"])],
                    [constant("o", np.float32(0.0))], (length,)), (length,))
    for length in (8, 16, 65):
        for kernel, stride, pads in ((2, 2, [0, 0]), (3, 1, [1, 1]), (3, 2, [0, 1])):
            shape = (2, length)
            for operator in ("MaxPool", "AveragePool"):
                how = dict(kernel_shape=[kernel], strides=[stride], pads=pads)
                yield (f"{operator} {kernel}/{stride} of {length}", file([node(operator, ["x"], **how)], shape=shape), shape)
        for operator in ("GlobalMaxPool", "GlobalAveragePool"):
            yield f"{operator} of {length}", file([node(operator, ["x"])], shape=(2, length)), (2, length)
    for side in (4, 7):
        shape = (2, side, side)
        how = dict(kernel_shape=[2, 2], strides=[2, 2])
        yield f"MaxPool of {side} by {side}", file([node("MaxPool", ["x"], **how)], shape=shape), shape


def dense(activation, width, hidden, how=None):
    constants = [constant("w", weights(width, hidden)), constant("b", weights(hidden)), constant("v", weights(hidden, 2))]
    nodes = [node("Gemm", ["x", "w", "b"], ["h"]), node(activation, ["h"], ["a"], **(how or {})), node("MatMul", ["a", "v"])]
    return file(nodes, constants, (width,))


def recurrent(operator, gates, hidden, steps=5, width=3, sequence=False, **how):
    constants = [constant("w", weights(1, gates * hidden, width)), constant("r", weights(1, gates * hidden, hidden)),
                 constant("b", weights(1, 2 * gates * hidden)), constant("v", weights(hidden, 1))]
    nodes = [node("Transpose", ["x"], ["t"], perm=[1, 0, 2])]
    if sequence:
        nodes += [node(operator, ["t", "w", "r", "b"], ["s"], hidden_size=hidden, **how),
                  node("Squeeze", ["s", "one"], ["q"]), node("Transpose", ["q"], ["p"], perm=[1, 0, 2]),
                  node("MatMul", ["p", "v"])]
        constants.append(constant("one", np.array([1])))
    else:
        nodes += [node(operator, ["t", "w", "r", "b"], ["", "s"], hidden_size=hidden, **how),
                  node("Squeeze", ["s", "nought"], ["q"]), node("MatMul", ["q", "v"])]
        constants.append(constant("nought", np.array([0])))
    return file(nodes, constants, (steps, width)), (steps, width)


def networks():
    for activation, how in (("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("LeakyRelu", {"alpha": 0.1}), ("Elu", {}),
                            ("Softmax", {"axis": 1}), ("Softplus", {}), ("HardSigmoid", {})):
        for width, hidden in ((6, 5), (6, 16), (3, 33)):
            yield f"dense with {activation} of {width}, {hidden}", dense(activation, width, hidden, how), (width,)
    for activation in ("Relu", "Tanh", "LeakyRelu"):
        shape = (3, 20)
        constants = [constant("w", weights(8, 3, 3)), constant("b", weights(8)), constant("v", weights(8, 1))]
        nodes = [node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1]), node(activation, ["c"], ["a"]),
                 node("MaxPool", ["a"], ["m"], kernel_shape=[2], strides=[2]), node("GlobalMaxPool", ["m"], ["g"]),
                 node("Flatten", ["g"], ["f"]), node("MatMul", ["f", "v"])]
        yield f"convolution with {activation}", file(nodes, constants, shape), shape
    scale, bias, mean, variance = (constant(name, values) for name, values in zip(
        "sbmv", (weights(6) + 1, weights(6), weights(6), np.abs(weights(6)) + 0.1)))
    nodes = [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["n"]), node("Relu", ["n"])]
    yield "batch normalisation", file(nodes, [scale, bias, mean, variance], (6,)), (6,)
    nodes = [node("LayerNormalization", ["x", "s", "b"], ["n"], axis=1), node("Relu", ["n"])]
    yield "layer normalisation", file(nodes, [scale, bias], (6,)), (6,)
    for hidden in (3, 8):
        for sequence in (False, True):
            tail = f"of {hidden}{', all steps' if sequence else ''}"
            yield f"LSTM {tail}", *recurrent("LSTM", 4, hidden, sequence=sequence)
            yield f"RNN {tail}", *recurrent("RNN", 1, hidden, sequence=sequence)
            for reset in (0, 1):
                yield f"GRU {reset} {tail}", *recurrent("GRU", 3, hidden, sequence=sequence, linear_before_reset=reset)
        yield f"GRU 1 of {hidden}, two steps", *recurrent("GRU", 3, hidden, steps=2, linear_before_reset=1)
    # tract takes another way from 65 on.
    yield "GRU 1 of 65", *recurrent("GRU", 3, 65, linear_before_reset=1, width=1)


def plain(values):
    def number(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf") if math.isinf(value) else float(f"{value:.7g}")
    return [number(float(value)) for value in values]


def answers(onnx, rows, shape, optimised):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    given = [session.run(None, {"x": row.reshape(1, *shape)})[0].reshape(-1) for row in rows]
    return np.stack(given)


def by_definition(onnx, row, shape):
    """A recurrent network's answer by the operators' definitions, in which every function of NaN is NaN."""
    graph = ModelProto.FromString(onnx).graph
    w, r, b, v = (numpy_helper.to_array(tensor)[...].astype(np.float64) for tensor in graph.initializer if tensor.name in "wrbv")
    at = next(found for found in graph.node if found.op_type in ("LSTM", "GRU", "RNN"))
    how = {attribute.name: helper.get_attribute_value(attribute) for attribute in at.attribute}
    w, r, hidden = w[0], r[0], how["hidden_size"]
    wb, rb = np.split(b[0], 2)
    x = row.reshape(shape).astype(np.float64)
    sigmoid = lambda value: 1 / (1 + np.exp(-value))
    h = c = np.zeros(hidden)
    steps = []
    for now in x:
        given, own = w @ now + wb, r @ h + rb
        if at.op_type == "RNN":
            h = np.tanh(given + own)
        elif at.op_type == "GRU":
            (gz, gr, gn), (oz, or_, on) = np.split(given, 3), np.split(own, 3)
            update, reset = sigmoid(gz + oz), sigmoid(gr + or_)
            inner = reset * on if how["linear_before_reset"] else r[2 * hidden:] @ (reset * h) + rb[2 * hidden:]
            new = np.tanh(gn + inner)
            h = new + update * (h - new)
        else:
            i, o, f, n = np.split(given + own, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(n)
            h = sigmoid(o) * np.tanh(c)
        steps.append(h)
    return (np.stack(steps) @ v if at.output[0] else h @ v).reshape(-1)


def referred(onnx, rows, shape, outputs):
    """The same of rows; it agrees with onnxruntime where all is finite."""
    with np.errstate(all="ignore"):
        found = np.stack([by_definition(onnx, row, shape) for row in rows])
    assert np.allclose(found[0], outputs[0], atol=1e-5), (found[0], outputs[0])
    return found


def main():
    cases = []
    for name, onnx, shape in [*singles(), *networks()]:
        places = None if len(shape) == 1 else (0, int(np.prod(shape)) - 2)
        rows = rows_of(shape, places)
        outputs, plainly = (answers(onnx, rows, shape, optimised) for optimised in (True, False))
        if not np.array_equal(np.isnan(outputs), np.isnan(plainly)):
            print(f"{name}: onnxruntime's optimiser changes what is no number", file=sys.stderr)
        if name.startswith(("LSTM", "GRU", "RNN")):
            plainly = referred(onnx, rows, shape, outputs)
        if name.startswith(("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "convolution")):
            flag = -math.inf if name.startswith("ReduceMin") else math.inf
            flagged = answers(onnx, np.where(np.isnan(rows), np.float32(flag), rows), shape, False)
            hidden = np.isnan(rows).any(axis=1)[:, None] & ((flagged == flag) | name.startswith("convolution"))
            plainly = np.where(hidden, math.nan, plainly)
        if name.startswith("Clip at its"):
            plainly = np.where(np.abs(plainly) > 3.4e38, np.copysign(math.inf, plainly), plainly)
        cases.append({"name": name, "onnx": onnx.hex(), "shape": list(shape), "rows": [plain(row) for row in rows],
                      "outputs": [plain(row) for row in plainly]})
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")


main()
