"""Makes `deep-trees`: two trees over 90 features, so deep that a path has more features than a machine word has bits.

    pip install -r tests/models/requirements-corpus.txt
    python tests/models/deep.py

Thresholds are drawn at random between values with long tails, which cuts off a few rows at a time. What explanations of it
must be is not stored: the test that reads it works that out from the trees, by another way than the code does.
"""

from pathlib import Path

import numpy as np
import onnx
from skl2onnx import to_onnx
from sklearn.ensemble import ExtraTreesRegressor

HERE = Path(__file__).parent / "deep-trees"
FEATURES, ROWS, BACKGROUND, EXPLAINED = 90, 400, 12, 4


def main():
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, FEATURES))
    x = (np.sign(x) * np.exp(2 * np.abs(x))).astype(np.float32)
    y = x[:, 0] + random.normal(size=ROWS)
    forest = ExtraTreesRegressor(2, max_features=1, random_state=1).fit(x, y)
    for tree in forest.estimators_:
        depth, features = deepest(tree.tree_)
        assert depth >= 30 and features > 32
        print(f"{tree.get_n_leaves()} leaves, depth {depth}, {features} features on a path")
    HERE.mkdir(exist_ok=True)
    onnx.save(to_onnx(forest, x[:1]), HERE / "model.onnx")
    names = ",".join(f"f{feature}" for feature in range(FEATURES))
    np.savetxt(HERE / "background.csv", x[:BACKGROUND], "%.9g", ",", header=names, comments="")
    np.savetxt(HERE / "rows.csv", x[-EXPLAINED:], "%.9g", ",", header=names, comments="")


def deepest(tree):
    """Of the paths to the leaves the largest depth, and the most different features."""
    depth = features = 0
    waiting = [(0, 0, frozenset())]
    while waiting:
        node, at, path = waiting.pop()
        if tree.children_left[node] < 0:
            depth, features = max(depth, at), max(features, len(path))
            continue
        for child in (tree.children_left[node], tree.children_right[node]):
            waiting.append((child, at + 1, path | {tree.feature[node]}))
    return depth, features


if __name__ == "__main__":
    main()
