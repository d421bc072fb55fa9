"""Small ONNX models, written byte by byte: the tests need a few that no exporter makes, and no library for it."""

import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

FLOAT = 1
OPSET = 11


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(key: int, number: int) -> bytes:
    return _varint(key << 3) + _varint(number & (1 << 64) - 1)


def _bytes(key: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return _varint(key << 3 | 2) + _varint(len(raw)) + raw


def _attribute(name: str, value: float | list[int]) -> bytes:
    if isinstance(value, float):
        return _bytes(5, _bytes(1, name) + _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, 1))
    if isinstance(value, int):
        return _bytes(5, _bytes(1, name) + _number(3, value) + _number(20, 2))
    return _bytes(5, _bytes(1, name) + b"".join(_number(8, one) for one in value) + _number(20, 7))


def _value(name: str, columns: int) -> bytes:
    dims = _bytes(1, _bytes(2, "N")) + _bytes(1, _number(1, columns))
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, FLOAT) + _bytes(2, dims)))


@dataclass
class Graph:
    """A model that takes rows `x` and gives rows `y`."""

    features: int
    columns: int = 1
    _nodes: list[bytes] = field(default_factory=list)
    _constants: list[bytes] = field(default_factory=list)

    def constant(self, shape: list[int], values: Iterable[float]) -> str:
        """Numbers that come with the model."""
        name, flat = f"c{len(self._constants)}", list(values)
        raw = struct.pack(f"<{len(flat)}f", *flat)
        dims = b"".join(_number(1, one) for one in shape)
        self._constants.append(_bytes(5, dims + _number(2, FLOAT) + _bytes(8, name) + _bytes(9, raw)))
        return name

    def node(self, kind: str, *inputs: str, out: str | None = None, **attributes: float | list[int]) -> str:
        """One operator; gives the name of what it computes."""
        name = out or f"n{len(self._nodes)}"
        parts = b"".join(_bytes(1, one) for one in inputs) + _bytes(2, name) + _bytes(4, kind)
        self._nodes.append(_bytes(1, parts + b"".join(_attribute(*one) for one in attributes.items())))
        return name

    def model(self) -> bytes:
        """The file."""
        ends = _bytes(11, _value("x", self.features)) + _bytes(12, _value("y", self.columns))
        graph = b"".join(self._nodes) + _bytes(2, "g") + b"".join(self._constants) + ends
        return _number(1, 7) + _bytes(8, _number(2, OPSET)) + _bytes(7, graph)


def squares(features: int, side: int, times: int) -> bytes:
    """A matrix of `side` times `side`, made from the row and multiplied with itself so many times: memory and time at will.

    The file alone may not say that it is too much: up to 67,108,864 values at a time and 2^36 multiplications (`limits.rs`).
    """
    graph = Graph(features)
    spread = graph.constant([features, side], [1e-4] * (features * side))
    row = graph.node("MatMul", "x", spread)
    matrix = graph.node("MatMul", graph.node("Unsqueeze", row, axes=[2]), graph.node("Unsqueeze", row, axes=[1]))
    for _ in range(times):
        matrix = graph.node("Tanh", graph.node("MatMul", matrix, matrix))
    graph.node("Unsqueeze", graph.node("ReduceMean", matrix, axes=[1, 2], keepdims=0), out="y", axes=[1])
    return graph.model()


def squared(side: int) -> Callable[[list[float]], float]:
    """What `squares` with one multiplication answers for a row."""
    return lambda row: math.tanh(side * (1e-4 * sum(row)) ** 4)


def never_a_number(features: int) -> bytes:
    """The logarithm of what is below zero, whatever the row."""
    graph = Graph(features)
    weights = graph.constant([features, 1], [1.0] * features)
    square = graph.node("MatMul", graph.node("Mul", "x", "x"), weights)
    graph.node("Log", graph.node("Sub", graph.node("Neg", square), graph.constant([1], [1.0])), out="y")
    return graph.model()


def chain(features: int, links: int) -> bytes:
    """A sum, and so many links behind it."""
    graph = Graph(features)
    link = graph.node("MatMul", "x", graph.constant([features, 1], [1e-3] * features))
    for _ in range(links):
        link = graph.node("Sin", link)
    graph.node("Tanh", link, out="y")
    return graph.model()


def strange_beyond(features: int, column: int, limit: float) -> bytes:
    """Between 0 and 1, as a probability should be; no number where one of the features is above a limit."""
    graph = Graph(features)
    pick = graph.constant([features, 1], [1e-3] * features)
    watched = graph.constant([features, 1], [float(number == column) for number in range(features)])
    room = graph.node("Sub", graph.constant([1], [limit]), graph.node("MatMul", "x", watched))
    # The root of what is below zero is no number; within the limit it adds next to nothing.
    nothing = graph.node("Mul", graph.node("Sqrt", room), graph.constant([1], [1e-9]))
    # Behind the sigmoid, since that of what is no number may well be one.
    graph.node("Add", graph.node("Sigmoid", graph.node("MatMul", "x", pick)), nothing, out="y")
    return graph.model()


def strange_until(column: int, limit: float) -> Callable[[list[float]], float]:
    """What `strange_beyond` answers for a row within the limit."""
    return lambda row: 1 / (1 + math.exp(-1e-3 * sum(row))) + 1e-9 * math.sqrt(limit - row[column])
