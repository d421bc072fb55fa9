#!/usr/bin/env python3
"""Trains small models with the libraries that people use, exports them as their converters do, and notes what they answer.

    make_corpus.py [--only NAME] OUT.json

Needs what requirements-corpus.txt pins. Writes one JSON object a model and line: `name`, `onnx` (the file, in hexadecimal),
`tensor`, `kind`, `column` (the explained one), `rows` and `background` (null for NaN), `outputs` (onnxruntime's, a list per
row), `labels` (the place of onnxruntime's label among the classes, where the model is a classifier), and Shapley values
(`shap`, one list per row, and `base_value`) in `space`, found by running every mixture of a row with every background row
through onnxruntime. `way` says how explaind is to explain it: `trees`, `linear` or `any`.
"""
import argparse
import itertools
import json
import math
import warnings

import lightgbm
import numpy as np
import onnx
import onnxruntime
import skl2onnx.common._container as container
import xgboost
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloat
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier, BaggingRegressor, ExtraTreesClassifier, ExtraTreesRegressor, GradientBoostingClassifier,
    GradientBoostingRegressor, HistGradientBoostingClassifier, HistGradientBoostingRegressor, IsolationForest,
    RandomForestClassifier, RandomForestRegressor, StackingRegressor, VotingClassifier, VotingRegressor)
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet, LinearRegression, LogisticRegression, Perceptron, PoissonRegressor, Ridge, RidgeClassifier,
    SGDClassifier)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer, MaxAbsScaler, MinMaxScaler, Normalizer, OneHotEncoder, OrdinalEncoder, PolynomialFeatures, RobustScaler,
    StandardScaler)
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

WIDTH = 5
ROWS, BACKGROUND = 8, 20
OPSET = {"": 17, "ai.onnx.ml": 3}

warnings.filterwarnings("ignore")
onnxruntime.set_default_logger_severity(4)

random = np.random.default_rng(20261122)
X = random.normal(size=(400, WIDTH)).astype(np.float32)
X[:, 4] = random.integers(0, 4, 400)
SCORE = X[:, 0] + X[:, 1] ** 2 - 0.5 * X[:, 2] * (X[:, 4] == 2) + 0.3 * X[:, 4]
TWO, THREE = (SCORE > 1.2).astype(int), np.digitize(SCORE, [0.6, 1.8])
FOUR = np.digitize(SCORE, [0.3, 1.0, 1.8])
NUMBER = (2 * SCORE + 0.1 * random.normal(size=400)).astype(np.float32)
COUNT = np.floor(np.exp(np.clip(SCORE, -1, 2)))
HOLES = X.copy()
HOLES[random.random(X.shape) < 0.15] = np.nan
HOLES[:, 4] = X[:, 4]
SMALL = dict(n_estimators=6, max_depth=3, random_state=0)


def plain(item):
    item = item.item() if isinstance(item, np.generic) else item
    return int(item) if isinstance(item, bool) else item


def plain_numbers(make_node):
    """skl2onnx hands numpy's unsigned numbers and truths to onnx, which refuses them: histogram boosting would not export."""
    def made(operator, inputs, outputs, **attributes):
        for key, value in attributes.items():
            if isinstance(value, list):
                attributes[key] = [plain(item) for item in value]
        return make_node(operator, inputs, outputs, **attributes)
    return made


container.make_node = plain_numbers(container.make_node)


def columns(count, kind=FloatTensorType):
    return [("x", kind([None, count]))]


def sklearn(model, target, data=X, inputs=None, **options):
    model.fit(data, target)
    return convert_sklearn(model, initial_types=inputs or columns(WIDTH), target_opset=OPSET, **options)


def light(model, target, data=X, **options):
    model.fit(data, target, **options.pop("fit", {}))
    return convert_lightgbm(model, initial_types=[("x", ToolsFloat([None, WIDTH]))], target_opset=15, **options)


def extreme(model, target, data=X):
    model.fit(data, target)
    return convert_xgboost(model, initial_types=[("x", ToolsFloat([None, WIDTH]))], target_opset=15)


def categories(encoder, rest):
    return ColumnTransformer([("n", rest, [0, 1, 2, 3]), ("c", encoder, [4])])


def boosted(kind, **more):
    return kind(n_estimators=6, max_depth=3, verbose=-1, min_child_samples=5, random_state=0, **more)


RAW = {"raw_scores": True}
NO_MAP = {"zipmap": False}

# name: (way, kind, data of rows, export)
MODELS = {
    "forest-two": ("trees", "c", X, lambda: sklearn(RandomForestClassifier(**SMALL), TWO)),
    "forest-three": ("trees", "c", X, lambda: sklearn(RandomForestClassifier(**SMALL), THREE, options=NO_MAP)),
    "forest-number": ("trees", "r", X, lambda: sklearn(RandomForestRegressor(**SMALL), NUMBER)),
    "forest-two-numbers": ("trees", "r", X, lambda: sklearn(RandomForestRegressor(**SMALL), np.c_[NUMBER, COUNT])),
    "extra-two": ("trees", "c", X, lambda: sklearn(ExtraTreesClassifier(**SMALL), TWO)),
    "extra-number": ("trees", "r", X, lambda: sklearn(ExtraTreesRegressor(**SMALL), NUMBER)),
    "tree-three": ("trees", "c", X, lambda: sklearn(DecisionTreeClassifier(max_depth=4), THREE)),
    "tree-number": ("trees", "r", X, lambda: sklearn(DecisionTreeRegressor(max_depth=4), NUMBER)),
    "boosting-two": ("trees", "c", X, lambda: sklearn(GradientBoostingClassifier(**SMALL), TWO)),
    "boosting-two-raw": ("trees", "c", X, lambda: sklearn(GradientBoostingClassifier(**SMALL), TWO, options={**RAW, **NO_MAP})),
    "boosting-three": ("trees", "c", X, lambda: sklearn(GradientBoostingClassifier(**SMALL), THREE, options=NO_MAP)),
    "boosting-number": ("trees", "r", X, lambda: sklearn(GradientBoostingRegressor(**SMALL), NUMBER)),
    "histogram-two": ("trees", "c", HOLES, lambda: sklearn(HistGradientBoostingClassifier(max_iter=5, max_depth=3), TWO, HOLES)),
    "histogram-three": ("trees", "c", HOLES, lambda: sklearn(HistGradientBoostingClassifier(max_iter=5, max_depth=3), THREE, HOLES)),
    "histogram-number": ("trees", "r", HOLES, lambda: sklearn(HistGradientBoostingRegressor(max_iter=5, max_depth=3), NUMBER, HOLES)),
    "isolation-forest": ("any", "a", X, lambda: sklearn(IsolationForest(n_estimators=5, max_samples=32, random_state=0), None)),
    "adaboost": ("any", "c", X, lambda: sklearn(AdaBoostClassifier(n_estimators=4, random_state=0), TWO, options=NO_MAP)),
    "bagging": ("any", "r", X, lambda: sklearn(BaggingRegressor(DecisionTreeRegressor(max_depth=3), n_estimators=4, random_state=0), NUMBER)),
    "voting-number": ("any", "r", X, lambda: sklearn(VotingRegressor([("a", RandomForestRegressor(**SMALL)), ("b", LinearRegression())]), NUMBER)),
    "voting-two": ("any", "c", X, lambda: sklearn(VotingClassifier([("a", RandomForestClassifier(**SMALL)), ("b", LogisticRegression())], voting="soft", flatten_transform=False), TWO, options=NO_MAP)),
    "stacking": ("any", "r", X, lambda: sklearn(StackingRegressor([("a", RandomForestRegressor(**SMALL)), ("b", Ridge())]), NUMBER)),
    "logistic-two": ("any", "c", X, lambda: sklearn(LogisticRegression(), TWO)),
    "logistic-two-margin": ("linear", "m", X, lambda: sklearn(LogisticRegression(), TWO, options=NO_MAP)),
    "logistic-two-raw": ("linear", "c", X, lambda: sklearn(LogisticRegression(), TWO, options={**RAW, **NO_MAP})),
    "logistic-three": ("any", "c", X, lambda: sklearn(LogisticRegression(), THREE)),
    "logistic-each": ("any", "c", X, lambda: sklearn(OneVsRestClassifier(LogisticRegression()), THREE, options=NO_MAP)),
    "linear": ("linear", "r", X, lambda: sklearn(LinearRegression(), NUMBER)),
    "linear-two-numbers": ("linear", "r", X, lambda: sklearn(LinearRegression(), np.c_[NUMBER, COUNT])),
    "ridge-scaled": ("linear", "r", X, lambda: sklearn(make_pipeline(StandardScaler(), Ridge()), NUMBER)),
    "elastic-net-ranged": ("linear", "r", X, lambda: sklearn(make_pipeline(MinMaxScaler(), ElasticNet(alpha=0.01)), NUMBER)),
    "poisson": ("any", "r", X, lambda: sklearn(PoissonRegressor(), COUNT)),
    "ridge-classes": ("linear", "c", X, lambda: sklearn(RidgeClassifier(), TWO, options=NO_MAP)),
    "stochastic-gradient": ("any", "c", X, lambda: sklearn(SGDClassifier(loss="log_loss", random_state=0), TWO, options=NO_MAP)),
    "perceptron": ("any", "c", X, lambda: sklearn(Perceptron(), TWO, options=NO_MAP)),
    "linear-svm-classes": ("linear", "c", X, lambda: sklearn(LinearSVC(), TWO)),
    "linear-svm-number": ("linear", "r", X, lambda: sklearn(LinearSVR(), NUMBER)),
    "svm-two": ("any", "c", X[:60], lambda: sklearn(SVC(probability=True, random_state=0), TWO[:60], X[:60])),
    "svm-three": ("any", "c", X[:60], lambda: sklearn(SVC(probability=True, random_state=0), THREE[:60], X[:60], options=NO_MAP)),
    "svm-three-pairs": ("any", "c", X[:60], lambda: sklearn(SVC(decision_function_shape="ovo"), THREE[:60], X[:60], options=NO_MAP)),
    "svm-four-pairs": ("any", "c", X[:60], lambda: sklearn(SVC(decision_function_shape="ovo"), FOUR[:60], X[:60], options=NO_MAP)),
    "svm-three-each": ("any", "c", X[:60], lambda: sklearn(SVC(), THREE[:60], X[:60], options=NO_MAP)),
    "svm-two-polynomial": ("any", "c", X[:60], lambda: sklearn(SVC(kernel="poly", degree=2, probability=True, random_state=0), TWO[:60], X[:60])),
    "svm-two-sigmoid": ("any", "c", X[:60], lambda: sklearn(SVC(kernel="sigmoid", probability=True, random_state=0), TWO[:60], X[:60])),
    "svm-two-raw": ("any", "c", X[:60], lambda: sklearn(SVC(), TWO[:60], X[:60], options={**RAW, **NO_MAP})),
    "svm-two-linear": ("linear", "c", X[:60], lambda: sklearn(SVC(kernel="linear"), TWO[:60], X[:60], options=NO_MAP)),
    "svm-number": ("any", "r", X[:60], lambda: sklearn(SVR(), NUMBER[:60], X[:60])),
    "svm-number-nu": ("any", "r", X[:60], lambda: sklearn(NuSVR(kernel="poly", degree=2), NUMBER[:60], X[:60])),
    "svm-one-class": ("any", "a", X[:60], lambda: sklearn(OneClassSVM(nu=0.2), None, X[:60])),
    "perceptron-layers": ("any", "c", X, lambda: sklearn(MLPClassifier((6,), max_iter=60, random_state=0), TWO, options=NO_MAP)),
    "perceptron-layers-number": ("any", "r", X, lambda: sklearn(MLPRegressor(hidden_layer_sizes=(6,), max_iter=60, random_state=0), NUMBER)),
    "naive-bayes": ("any", "c", X, lambda: sklearn(GaussianNB(), THREE, options=NO_MAP)),
    "imputed-scaled-forest": ("trees", "c", HOLES, lambda: sklearn(make_pipeline(SimpleImputer(), StandardScaler(), RandomForestClassifier(**SMALL)), TWO, HOLES)),
    "imputed-median-boosting": ("trees", "r", HOLES, lambda: sklearn(make_pipeline(SimpleImputer(strategy="median"), GradientBoostingRegressor(**SMALL)), NUMBER, HOLES)),
    "ranged-boosting": ("trees", "c", X, lambda: sklearn(make_pipeline(MinMaxScaler(), GradientBoostingClassifier(**SMALL)), TWO)),
    "robust-extra": ("trees", "r", X, lambda: sklearn(make_pipeline(RobustScaler(), MaxAbsScaler(), ExtraTreesRegressor(**SMALL)), NUMBER)),
    "normalized-boosting": ("any", "c", X, lambda: sklearn(make_pipeline(Normalizer(), GradientBoostingClassifier(**SMALL)), TWO)),
    "normalized-largest-forest": ("any", "r", X, lambda: sklearn(make_pipeline(Normalizer(norm="max"), RandomForestRegressor(**SMALL)), NUMBER)),
    "one-hot-boosting": ("trees", "c", X, lambda: sklearn(make_pipeline(categories(OneHotEncoder(handle_unknown="ignore"), StandardScaler()), GradientBoostingClassifier(**SMALL)), TWO)),
    "one-hot-strict-forest": ("trees", "r", X, lambda: sklearn(make_pipeline(categories(OneHotEncoder(), "passthrough"), RandomForestRegressor(**SMALL)), NUMBER)),
    "one-hot-logistic": ("any", "c", X, lambda: sklearn(make_pipeline(categories(OneHotEncoder(), StandardScaler()), LogisticRegression()), TWO)),
    "ordinal-boosting": ("trees", "r", X, lambda: sklearn(make_pipeline(categories(OrdinalEncoder(), "passthrough"), GradientBoostingRegressor(**SMALL)), NUMBER)),
    "binarized-forest": ("trees", "r", X, lambda: sklearn(make_pipeline(Binarizer(threshold=0.25), RandomForestRegressor(**SMALL)), NUMBER)),
    "selected-forest": ("trees", "r", X, lambda: sklearn(make_pipeline(SelectKBest(f_regression, k=3), RandomForestRegressor(**SMALL)), NUMBER)),
    "polynomial-ridge": ("any", "r", X, lambda: sklearn(make_pipeline(PolynomialFeatures(2), Ridge()), NUMBER)),
    "components-forest": ("any", "r", X, lambda: sklearn(make_pipeline(PCA(3, random_state=0), RandomForestRegressor(**SMALL)), NUMBER)),
    "scaled-svm": ("any", "c", X[:60], lambda: sklearn(make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)), TWO[:60], X[:60])),
    "doubles-scaled-forest": ("trees", "c", X, lambda: sklearn(make_pipeline(StandardScaler(), RandomForestClassifier(**SMALL)), TWO, inputs=columns(WIDTH, DoubleTensorType))),
    "wholes-forest": ("trees", "r", np.round(4 * X), lambda: sklearn(RandomForestRegressor(**SMALL), NUMBER, np.round(4 * X), inputs=columns(WIDTH, Int64TensorType))),
    "frame-forest": ("trees", "c", X, lambda: frame(RandomForestClassifier(**SMALL), TWO)),
    "light-two": ("trees", "c", HOLES, lambda: light(boosted(lightgbm.LGBMClassifier), TWO, HOLES)),
    "light-two-no-map": ("trees", "c", X, lambda: light(boosted(lightgbm.LGBMClassifier), TWO, zipmap=False)),
    "light-three": ("trees", "c", HOLES, lambda: light(boosted(lightgbm.LGBMClassifier), THREE, HOLES)),
    "light-each": ("trees", "c", X, lambda: light(boosted(lightgbm.LGBMClassifier, objective="multiclassova"), THREE, zipmap=False)),
    "light-number": ("trees", "r", HOLES, lambda: light(boosted(lightgbm.LGBMRegressor), NUMBER, HOLES)),
    "light-count": ("any", "r", X, lambda: light(boosted(lightgbm.LGBMRegressor, objective="poisson"), COUNT)),
    "light-forest": ("trees", "r", X, lambda: light(boosted(lightgbm.LGBMRegressor, boosting_type="rf", bagging_freq=1, bagging_fraction=0.5), NUMBER)),
    "light-forest-two": ("any", "c", X, lambda: light(boosted(lightgbm.LGBMClassifier, boosting_type="rf", bagging_freq=1, bagging_fraction=0.5), TWO, zipmap=False)),
    "light-parts": ("trees", "r", X, lambda: light(boosted(lightgbm.LGBMRegressor), NUMBER, split=2)),
    "light-categories": ("trees", "r", X, lambda: light(boosted(lightgbm.LGBMRegressor), NUMBER, fit={"categorical_feature": [4]})),
    "light-dart": ("trees", "r", X, lambda: light(boosted(lightgbm.LGBMRegressor, boosting_type="dart"), NUMBER)),
    "extreme-two": ("trees", "c", HOLES, lambda: extreme(xgboost.XGBClassifier(**SMALL), TWO, HOLES)),
    "extreme-three": ("trees", "c", HOLES, lambda: extreme(xgboost.XGBClassifier(**SMALL), THREE, HOLES)),
    "extreme-number": ("trees", "r", HOLES, lambda: extreme(xgboost.XGBRegressor(**SMALL), NUMBER, HOLES)),
    "extreme-count": ("any", "r", X, lambda: extreme(xgboost.XGBRegressor(objective="count:poisson", **SMALL), COUNT)),
    "extreme-forest-two": ("trees", "c", X, lambda: extreme(xgboost.XGBRFClassifier(**SMALL), TWO)),
    "extreme-forest": ("trees", "r", X, lambda: extreme(xgboost.XGBRFRegressor(**SMALL), NUMBER)),
}


def frame(model, target):
    """Exports as for a data frame: one input per column, and what puts them together."""
    import pandas
    data = pandas.DataFrame(X, columns=list("abcde"))
    inputs = [(name, FloatTensorType([None, 1])) for name in data.columns]
    pipe = make_pipeline(ColumnTransformer([("s", StandardScaler(), ["a", "c"]), ("p", "passthrough", ["b", "d", "e"])]), model)
    pipe.fit(data, target)
    return convert_sklearn(pipe, initial_types=inputs, target_opset=OPSET)


NUMPY = {1: np.float32, 7: np.int64, 11: np.float64}


class Run:
    """A model in onnxruntime that takes rows of float32."""

    def __init__(self, model):
        self.session = onnxruntime.InferenceSession(model.SerializeToString())
        self.inputs = [(i.name, NUMPY[i.type.tensor_type.elem_type], i.type.tensor_type.shape.dim[1].dim_value)
                       for i in model.graph.input]

    def __call__(self, rows, tensor):
        given, start = {}, 0
        for name, kind, width in self.inputs:
            given[name] = np.ascontiguousarray(rows[:, start:start + width]).astype(kind)
            start += width
        (found,) = self.session.run([tensor], given)
        if isinstance(found, list):  # a map per row, from ZipMap
            found = np.array([list(row.values()) for row in found])
        return np.asarray(found, dtype=np.float64).reshape(len(rows), -1) if found.dtype.kind == "f" else found


def margin(model):
    """The same model without the last function over its scores; none where there is no such function or no trees."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in changed.graph.node:
        for attribute in node.attribute:
            if attribute.name == "post_transform" and attribute.s in (b"LOGISTIC", b"SOFTMAX"):
                attribute.s = b"NONE"
                return changed
    return None


def shapley(function, rows, background):
    """By the definition: every coalition, every background row."""
    width = rows.shape[1]
    values = np.zeros(rows.shape)
    for place, row in enumerate(rows):
        worth = {}
        for coalition in itertools.product([False, True], repeat=width):
            worth[coalition] = function(np.where(coalition, row, background).astype(np.float32)).mean()
        for coalition, without in worth.items():
            size = sum(coalition)
            for feature in (f for f in range(width) if not coalition[f]):
                weight = math.factorial(size) * math.factorial(width - size - 1) / math.factorial(width)
                joined = coalition[:feature] + (True,) + coalition[feature + 1:]
                values[place, feature] += weight * (worth[joined] - without)
    return values, function(background).mean()


def described(name):
    way, kind, data, export = MODELS[name]
    model = export()
    model.doc_string = ""
    outputs = [output.name for output in model.graph.output]
    tensor = outputs[-1]
    run = Run(model)
    rows, background = data[:ROWS], data[ROWS:ROWS + BACKGROUND]
    background = np.where(np.isnan(background), X[ROWS:ROWS + BACKGROUND], background)
    found = run(rows, tensor)
    column = 0 if found.shape[1] == 1 else 1
    explained, space = model, "value"
    if kind in "cm":
        space = "probability"
    if (way == "trees" or kind == "m") and margin(model) is not None:
        explained, space = margin(model), "margin"
    asked = Run(explained)
    shap, base = shapley(lambda rows: asked(rows, tensor)[:, column], rows, background)
    listed = {"name": name, "way": way, "kind": {"c": "classification", "m": "classification", "r": "regression", "a": "anomaly"}[kind],
              "space": space, "tensor": tensor, "column": column, "onnx": model.SerializeToString().hex(),
              "rows": numbers(rows), "background": numbers(background), "outputs": numbers(found),
              "shap": numbers(shap), "base_value": base}
    if kind in "cm":
        listed["labels"] = [int(label) for label in run(rows, outputs[0]).ravel()]
        if name.endswith("-pairs"):
            # One score per pair of classes says how many classes there are.
            listed["classes"] = (1 + math.isqrt(1 + 8 * found.shape[1])) // 2
    return listed


def numbers(table):
    return [[None if math.isnan(value) else float(f"{value:.9g}") for value in row] for row in table]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--only")
    arguments = parser.parse_args()
    lines, failed = [], []
    for name in MODELS:
        if arguments.only in (None, name):
            try:
                lines.append(json.dumps(described(name), separators=(",", ":")))
            except Exception as error:
                failed.append(f"{name}: {str(error).strip().splitlines()[-1][:200]}")
    with open(arguments.out, "w") as file:
        file.write("[\n" + ",\n".join(lines) + "\n]\n")
    print(len(lines), "models")
    print("\n".join(failed))


main()
