#!/usr/bin/env python3
"""Writes seeds for the fuzz target `onnx` into corpus/onnx: the models of tests/models as far as they are small. The last byte of
each is the manifest's variant, as fuzz_targets/asked.rs reads it."""
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parents[2] / "tests" / "models"
OUT = HERE / "corpus" / "onnx"
LARGEST = 12_000
WIDTHS, KINDS = [3, 5, 18, 51], ["regression", "classification", "anomaly", "reconstruction"]
SPACES, TENSORS = ["auto", "value", "probability", "margin"], ["scores", "probabilities", "output_probability", "variable"]

OUT.mkdir(parents=True, exist_ok=True)
for corpus, width in (("corpus", 3), ("exports", 5), ("wide", None)):
    for model in json.loads((MODELS / f"{corpus}.json").read_text()):
        onnx, kind = bytes.fromhex(model["onnx"]), KINDS.index(model.get("kind", "regression"))
        space = SPACES.index(model["space"] if corpus == "wide" else "auto")
        variant = WIDTHS.index(width or model["width"]) | kind << 2 | space << 4
        variant |= TENSORS.index(model.get("tensor", "scores")) << 6
        if len(onnx) < LARGEST:
            (OUT / f"{corpus}-{model.get('name', model.get('seed'))}").write_bytes(onnx + bytes([variant]))
