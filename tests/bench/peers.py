"""What explaind takes to predict and to explain, beside what others take for the same rows: one thread, one run.

    python -m venv VENV && VENV/bin/pip install -r tests/bench/requirements.txt
    VENV/bin/python tests/bench/peers.py [MODEL...]

Ours and theirs are measured in turns, so that both see the same machine; of each the median over rows, and of that
the least over the rounds. A figure "x 12" says that the peer takes twelve times as long. What was not measured says from
what it is extrapolated. The peers are called from Python, as they are used; what that alone takes of a row, a model that
hands its input on shows. Before anything is timed, our predictions are held against onnxruntime's, and our attributions
against TreeExplainer's and woodelf's, or, of networks, against those from all coalitions: where they differ, there is no
figure. The last table sets what was reached beside what was to be reached; where something was not, the exit code is 1.

Networks of more features than can be enumerated get estimates, here and there, and an estimate is worth what its error
is: root mean square over rows and players, against Shapley values from all coalitions. So both are measured at several
sizes, and of each size of Kernel the time is set beside the time that ours takes to the same error, interpolated on
logarithms between the sizes measured. Ours is the whole explanation; of a window a third of its rows go into how shares
spread over time, which Kernel does not tell. It asks no further once no standard error is above 1 % of the outputs'
spread over the background.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import contextlib
import io
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import warnings
from math import factorial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import shap
from woodelf import WoodelfExplainer
from woodelf.core.trees.decision_trees_ensemble import DecisionTreesEnsemble, LeftIsSmallerEqualDecisionTreeNode

ROOT = Path(__file__).parents[2]
ROWS = 10_000
# Rows that are measured one at a time, by how long the peer takes for one.
QUICK, SLOW, SLOWEST = 500, 20, 3
ROUNDS = 3
# Deep trees: everybody takes milliseconds for a row, and woodelf prepares for most of a minute.
DEEP_ROWS, DEEP_WOODELF_ROWS, DEEP_LIMIT = 500, 100, 240

# Name: output tensor, column that is explained, kind. The margin of a boosted classifier is what its trees add up to.
TREES = {
    "ai4i-gbt": ("probabilities", 1, "classification"),
    "ai4i-forest": ("probabilities", 1, "classification"),
    "cmapss-rul-lgbm": ("variable", 0, "regression"),
    "deep-forest": ("variable", 0, "regression"),
}
# Networks small enough for enumeration.
NETWORKS = {"ai4i-mlp": ("probability", 0, "classification")}
# Networks that are not.
ESTIMATED = {"cmapss-rul-cnn": ("rul", 0, "regression"), "wide-mlp": ("variable", 0, "regression")}
# What ours may ask the model, in rows; what Kernel may, in coalitions of which each takes a row per background row.
BUDGETS = (300, 600, 1_200, 2_400, 4_800, 9_600, 19_200)
COALITIONS = (32, 64, 128, 256, 512, 1_024, 2_048, 4_096)


def main():
    warnings.simplefilter("ignore")
    build = ["cargo", "build", "--quiet", "--release", "-p", "explaind-core", "--example", "stopwatch"]
    subprocess.run(build, cwd=ROOT, check=True)
    names = sys.argv[1:] or [*TREES, *NETWORKS, *ESTIMATED]
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            (estimates if name in ESTIMATED else measure)(name, Path(folder))
    print("\nto reach, and reached")
    for what, bar, reached, kept in BARS:
        print(f"  {what:<74} {bar:>12} {reached:>9}  {'' if kept else 'NOT REACHED'}")
    sys.exit(not all(kept for *_, kept in BARS))


# What was to be reached: what, the bar, what was reached, and whether that is enough.
BARS = []


def at_most(what, bar, reached):
    BARS.append((what, f"at most {bar:g}", f"{reached:.2f}", reached <= bar))


def at_least(what, bar, reached):
    BARS.append((what, f"x {bar:g}", f"x {reached:.1f}", reached >= bar))


def measure(name, folder):
    tensor, column, kind = {**TREES, **NETWORKS}[name]
    background, rows = deep_forest(folder) if name == "deep-forest" else reference(name, folder)
    rows.tofile(folder / "rows.f32")
    ask = asking(folder, tensor, column)

    print(f"\n{name}: {rows.shape[1]} features, {len(background)} background rows")
    with Ours(folder, tensor, kind) as ours:
        agree("predictions", ours("outputs"), ask(rows[:20]), 1e-6)
        agree("what the attributions add up to", ours("gaps"), np.zeros(20), 1e-6)
        one = turns(ours, "predict", "onnxruntime, one row", lambda: one_by_one(lambda row: ask(row), rows, QUICK))
        call = one_by_one(handing_on(folder), rows, QUICK)
        print(f"  of onnxruntime's, one row, {short(call)} are the call from Python")
        bulk = turns(ours, f"predict {ROWS}", f"onnxruntime, {ROWS} rows", lambda: clock(lambda: ask(rows)))
        if name in TREES:
            at_least(f"{name}: our prediction, one row, against onnxruntime", 1, one)
            at_least(f"{name}: our prediction, {ROWS} rows, against onnxruntime", 1, bulk)
            per_row = trees(name, ours, ask, folder, background, rows)
        else:
            per_row = network(ours, ask, background, rows)
        kernel = shap.KernelExplainer(ask, background, silent=True)
        found = turns(ours, "explain", "Kernel, one row", lambda: one_by_one(quiet(kernel.shap_values), rows, SLOWEST))
        if name in NETWORKS:
            at_least(f"{name}: explained exactly, against Kernel on onnxruntime", 10, found)
        in_bulk("Kernel", per_row, one_by_one(quiet(kernel.shap_values), rows, SLOWEST))
        permutation = shap.PermutationExplainer(ask, background)
        turns(ours, "explain", "Permutation, one row", lambda: one_by_one(quiet(permutation), rows, SLOWEST))
        in_bulk("Permutation", per_row, one_by_one(quiet(permutation), rows, SLOWEST))


def network(ours, ask, background, rows):
    """A network that is enumerated. Returns what a row takes of many."""
    truth = np.array([enumerated(ask, row, background) for row in rows[:20]])
    agree("attributions and those from all coalitions", ours("values"), truth, 1e-5)
    exact = shap.explainers.Exact(ask, background)
    turns(ours, "explain", "shap's Exact, one row", lambda: one_by_one(quiet(exact), rows, SLOW))
    return best(ours, "explain")


def in_bulk(peer, ours, theirs):
    ratio(f"{peer}, {ROWS} rows (theirs extrapolated from {SLOWEST})", ours * ROWS, theirs * ROWS)


def agree(what, ours, theirs, tolerance):
    """Stops where ours differs: tolerances are relative to the largest figure, or to 1."""
    ours, theirs = np.array(ours), np.array(theirs)
    off = np.abs(ours - theirs).max() / max(1, np.abs(theirs).max())
    print(f"  {what}: they differ by {off:.1e} at most")
    assert off <= tolerance, f"{what}: {off} where {tolerance} is allowed"


def asking(folder, tensor, column):
    """The model in onnxruntime, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options)
    feed = session.get_inputs()[0].name

    def ask(x):
        answer = session.run([tensor], {feed: np.asarray(x, dtype=np.float32)})[0]
        return answer.reshape(len(x), -1)[:, column]

    return ask


def handing_on(folder):
    """A model that only hands its input on, asked as the others are."""
    rows = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, None])
    same = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, None])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "same", [rows], [same])
    other = folder / "same"
    other.mkdir()
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 13)])
    onnx.save(model, other / "model.onnx")
    return asking(other, "y", 0)


def estimates(name, folder):
    tensor, column, kind = ESTIMATED[name]
    background, rows, truth = wide_mlp(folder) if name == "wide-mlp" else windows(name, folder)
    rows.tofile(folder / "rows.f32")
    ask = asking(folder, tensor, column)
    if truth is None:
        truth = np.array([enumerated(ask, row, background) for row in rows])
    print(f"\n{name}: {rows.shape[-1]} players, {len(background)} background rows, {len(rows)} rows explained")
    with Ours(folder, tensor, kind) as ours:
        assert ours("method") == "Sampling"
        agree("predictions", ours("outputs"), ask(rows[:20]), 1e-6)
        mixed = np.concatenate([background] * 10)
        print(f"  onnxruntime takes {short(clock(lambda: ask(mixed)) / len(mixed))} a row in batches of {len(mixed)}")
        mine = {budget: Found() for budget in BUDGETS}
        theirs = {count: Found() for count in COALITIONS}
        usual = Found()
        for turn in range(ROUNDS):
            for budget, found in mine.items():
                answers = ours(f"estimate {budget}")
                found.add([answer["seconds"] for answer in answers], [answer["values"] for answer in answers])
                found.note = f"{max(answer['evaluations'] for answer in answers)} rows asked at most"
            for count, found in theirs.items():
                found.add(*kernel_over(ask, rows, background, turn, nsamples=count, l1_reg=False))
            usual.add(*kernel_over(ask, rows, background, turn))
    for budget, found in mine.items():
        print(f"  ours, budget {budget:<6} {short(found.time()):>10}, error {found.error(truth):.4f}, {found.note}")
    reached = []
    for title, found in [*((f"{count} coalitions", found) for count, found in theirs.items()), ("as it comes", usual)]:
        error = found.error(truth)
        says, times = beside(found.time(), error, [(other.time(), other.error(truth)) for other in mine.values()])
        print(f"  Kernel, {title:<16} {short(found.time()):>10}, error {error:.4f}   {says}")
        reached += [times] if times and found is not usual else []
    # Where no size of the two gives the same error nothing is known, and the bar is not reached.
    least = min(reached, default=0)
    at_least(f"{name}: against Kernel with all features, same error, the least of {len(reached)}", 10, least)


class Found:
    """What estimates of one size took and gave, by rounds."""

    def __init__(self):
        self.seconds, self.values, self.note = [], [], ""

    def add(self, seconds, values):
        self.seconds.append(seconds)
        self.values.append(values)

    def time(self):
        """The mean over rows of the least over rounds."""
        return float(np.min(self.seconds, axis=0).mean())

    def error(self, truth):
        return float(np.sqrt(np.mean((np.array(self.values) - truth) ** 2)))


def kernel_over(ask, rows, background, seed, **how):
    """KernelExplainer with whole players on and off: it explains a function of 0 and 1 that mixes the row with each
    background row and takes the mean. Its own groups of columns give the same and take longer. It gets `l1_reg=False`
    where sizes are compared, since by default it keeps ten features and leaves the others at zero."""
    seconds, values = [], []
    for row in rows:

        def mean(sets):
            means = []
            for some in np.array_split(sets > 0.5, -(-len(sets) // 4)):
                some = some.reshape(len(some), 1, *[1] * (row.ndim - 1), -1)
                mixed = np.where(some, row, background)
                means.append(ask(mixed.reshape(-1, *row.shape)).reshape(len(some), -1).mean(axis=1))
            return np.concatenate(means)

        players = row.shape[-1]
        explainer = shap.KernelExplainer(mean, np.zeros((1, players)), silent=True)
        np.random.seed(seed)
        start = time.perf_counter()
        found = quiet(explainer.shap_values)(np.ones((1, players)), **how)
        seconds.append(time.perf_counter() - start)
        values.append(found.reshape(-1))
    return seconds, values


def beside(seconds, error, ours):
    """What is said of the time that ours takes to an error, and, where known, how many times as long the peer took."""
    times, errors = zip(*sorted(ours))
    errors = np.minimum.accumulate(errors)
    if error < errors[-1]:
        return f"ours stops before, at {errors[-1]:.4f}", None
    if error > errors[0]:
        return f"ours {short(times[0]):>10} to less  x {seconds / times[0]:.1f} at least", None
    time_of = np.interp(-np.log(error), -np.log(errors), np.log(times))
    times = seconds / np.exp(time_of)
    return f"ours {short(np.exp(time_of)):>10} to the same  x {times:.1f}", times


def enumerated(ask, row, background):
    """Shapley values from all sets of features."""
    players = len(row)
    sets = (np.arange(1 << players)[:, None] >> np.arange(players) & 1).astype(bool)
    parts = np.array_split(sets, min(256, len(sets)))
    means = [ask(np.where(some[:, None], row, background).reshape(-1, players)) for some in parts]
    means = np.concatenate(means).astype(np.float64).reshape(-1, len(background)).mean(axis=1)
    sizes = sets.sum(axis=1)
    weight = np.array([factorial(s) * factorial(players - s - 1) / factorial(players) for s in range(players)])
    without = [np.flatnonzero(~sets[:, player]) for player in range(players)]
    return np.array([weight[sizes[w]] @ (means[w | 1 << player] - means[w]) for player, w in enumerate(without)])


def trees(name, ours, ask, folder, background, rows):
    """A sum of trees. Returns what a row takes of many."""
    listed = listed_trees(folder / "model.onnx")
    deep = max(depth(tree) for tree in listed) > 20
    many = DEEP_ROWS if deep else ROWS
    tree_explainer = shap.TreeExplainer({"trees": listed}, background, feature_perturbation="interventional")
    alone = quiet(lambda rows: tree_explainer.shap_values(rows, check_additivity=False))
    agree("attributions and those of TreeExplainer", ours("values"), alone(rows[:20]), 1e-5)

    prepared, bulk = best(ours, "prepare"), best(ours, f"attribute {many}")
    predict, attribute, both = best(ours, "predict"), best(ours, "attribute"), best(ours, "both")
    print(
        f"  ours: {short(attribute)} the attributions of a row, {short(both)} with prediction and names; {many} rows"
        f" {short(bulk)}; prepared in {short(prepared)}, {ours('bytes') / 2**20:.1f} MiB"
    )
    print(f"  the attributions of a row take {attribute / predict:.2f} times our own prediction of it")
    if not deep:
        at_most(f"{name}: attributions of a row / our own prediction of it", 2, attribute / predict)
    turns(ours, "attribute", "TreeExplainer, one row", lambda: one_by_one(alone, rows, SLOW))
    peers = lambda row: (ask(row), alone(row))
    peers_row = lambda: one_by_one(peers, rows, SLOW)
    row = turns(ours, "both", "onnxruntime and TreeExplainer, predict and explain one row", peers_row)
    at_least(f"{name}: predict and explain a row, against TreeExplainer", 5 if deep else 250, row)
    theirs = clock(lambda: alone(rows[:many]))
    ratio(f"TreeExplainer, {many} rows, measured once; our preparation in it", bulk + prepared, theirs)
    if deep:
        at_least(f"{name}: {many} rows, against TreeExplainer, our preparation in it", 5, theirs / (bulk + prepared))
    woodelf(name, ours, listed, background, rows, prepared, deep)
    return bulk / many


def woodelf(name, ours, listed, background, rows, prepared, deep):
    """Its preparation is its constructor and what the first rows wait for; neither side's is left out."""
    many = DEEP_WOODELF_ROWS if deep else ROWS
    frame = pd.DataFrame(rows[:many], columns=[f"f{i}" for i in range(rows.shape[1])])
    reference_frame = pd.DataFrame(background, columns=frame.columns)

    def run():
        explainer = WoodelfExplainer(woodelf_trees(listed), reference_frame)
        return explainer.shap_values(frame, verbose=False)

    def timed():
        """How long it takes, and what it says of the first rows."""
        start = time.perf_counter()
        values = run()
        return time.perf_counter() - start, np.array(values)[:20]

    if deep:
        found = within(DEEP_LIMIT, timed)
        if found is None:
            print(f"  woodelf: no answer for {many} rows within {DEEP_LIMIT} s")
        theirs, values = found or (DEEP_LIMIT, None)
    else:
        _, values = timed()  # compiles
        theirs = min(clock(run) for _ in range(ROUNDS))
    if values is not None:
        agree("attributions and those of woodelf", ours("values"), values, 1e-5)
    bulk = best(ours, f"attribute {many}")
    says = "" if not deep else ", once" if values is not None else ", at least"
    ratio(f"woodelf, {many} rows, preparation on both sides{says}", bulk + prepared, theirs)
    print(f"  of ours {short(prepared)} are preparation")
    at_least(f"{name}: {many} rows, against woodelf, preparation on both sides{says}", 5, theirs / (bulk + prepared))


def within(limit, call):
    """The result of a call in a process of its own; none where it is not there in time."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(call()))
    process.start()
    # So that one that fails closes the last end, and is not taken for one that is slow.
    theirs.close()
    result = ours.recv() if ours.poll(limit) else None
    process.kill()
    process.join()
    return result


class Ours:
    """The stopwatch: answers a question with seconds, or with numbers."""

    def __init__(self, folder, tensor, kind):
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        command = [target / "release/examples/stopwatch", folder, tensor, kind]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, question):
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=60)


def turns(ours, question, peer, theirs):
    """Measures both in turns, prints the ratio of the least, and returns it."""
    pairs = [(ours(question), theirs()) for _ in range(ROUNDS)]
    mine, others = map(min, zip(*pairs))
    ratio(peer, mine, others)
    return others / mine


def best(ours, question):
    return min(ours(question) for _ in range(ROUNDS))


def one_by_one(call, rows, count):
    return float(np.median([clock(lambda: call(rows[i : i + 1])) for i in range(count)]))


def clock(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def quiet(call):
    def silent(*arguments, **named):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return call(*arguments, **named)

    return silent


def ratio(peer, ours, theirs):
    print(f"  {peer:<62} {short(theirs):>10}   ours {short(ours):>10}   x {theirs / ours:.1f}")


def short(seconds):
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def reference(name, folder):
    """A model of tests/models, and rows near the real ones that come with it."""
    source = ROOT / "tests/models" / name
    for file in ("model.onnx", "background.csv"):
        (folder / file).write_bytes((source / file).read_bytes())
    background = pd.read_csv(source / "background.csv").to_numpy(dtype=np.float32)
    golden = json.loads((source / "golden.json").read_text())["rows"]
    real = np.vstack([background, np.array([row["x"] for row in golden], dtype=np.float32)])
    random = np.random.default_rng(1)
    near = random.normal(size=(ROWS, real.shape[1])) * real.std(axis=0) * 0.05
    near[:, [len(np.unique(values)) <= 3 for values in real.T]] = 0
    return background, (real[random.integers(0, len(real), ROWS)] + near).astype(np.float32)


def windows(name, folder):
    """A model of tests/models over windows, its golden windows, and their Shapley values, which are from enumeration."""
    source = ROOT / "tests/models" / name
    for file in ("model.onnx", "background.csv"):
        (folder / file).write_bytes((source / file).read_bytes())
    golden = json.loads((source / "golden.json").read_text())
    shape = (-1, *golden["window"])
    background = pd.read_csv(source / "background.csv").to_numpy(dtype=np.float32)
    rows = np.array([row["x"] for row in golden["rows"]], dtype=np.float32)
    return background.reshape(shape), rows.reshape(shape), np.array([row["shap"] for row in golden["rows"]])


def wide_mlp(folder):
    """A network over sixteen features: as many as can still be enumerated for a reference."""
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(0)
    x = random.normal(size=(6000, 16)).astype(np.float32)
    y = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + x[:, 3] * x[:, 4] * x[:, 5] + 0.3 * x[:, 6:].sum(axis=1)
    network = MLPRegressor(hidden_layer_sizes=(64, 32), max_iter=60, random_state=0)
    fitted = make_pipeline(StandardScaler(), network).fit(x[:4000], y[:4000])
    print(f"\nwide-mlp: explains {fitted.score(x[4000:], y[4000:]):.2f} of the variance of what it did not see")
    onnx.save(to_onnx(fitted, x[:1]), folder / "model.onnx")
    pd.DataFrame(x[:100], columns=[f"f{i}" for i in range(16)]).to_csv(folder / "background.csv", index=False)
    return x[:100], x[5000:5008], None


def deep_forest(folder):
    """Twenty trees, grown as far as they go on noise."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestRegressor

    random = np.random.default_rng(0)
    x = random.normal(size=(6000 + ROWS, 40)).astype(np.float32)
    y = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + 0.3 * x[:, 3:].sum(axis=1) + random.normal(size=len(x))
    forest = RandomForestRegressor(20, max_features=0.33, max_depth=30, random_state=0).fit(x[:6000], y[:6000])
    leaves = [tree.get_n_leaves() for tree in forest.estimators_]
    print(f"\ndeep-forest: {sum(leaves)} leaves, depth {max(tree.get_depth() for tree in forest.estimators_)}")
    onnx.save(to_onnx(forest, x[:1]), folder / "model.onnx")
    pd.DataFrame(x[:100], columns=[f"f{i}" for i in range(40)]).to_csv(folder / "background.csv", index=False)
    return x[:100], x[6000:]


def listed_trees(path):
    """The trees of a file, each as the lists that TreeExplainer takes. All their splits are `value <= threshold`."""
    node = next(node for node in onnx.load(path).graph.node if node.op_type.startswith("TreeEnsemble"))
    get = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    prefix = "class" if "class_ids" in get else "target"
    several = len(set(get[f"{prefix}_ids"])) > 1
    weights = zip(*(get[f"{prefix}_{field}"] for field in ("treeids", "nodeids", "ids", "weights")))
    values = {(tree, place): weight for tree, place, score, weight in weights if not several or score == 1}
    trees = {}
    for i, tree in enumerate(get["nodes_treeids"]):
        trees.setdefault(tree, []).append(i)
    assert set(get["nodes_modes"]) <= {b"LEAF", b"BRANCH_LEQ"}
    return [tree_lists(get, values, tree, places) for tree, places in trees.items()]


def tree_lists(get, values, tree, places):
    place = {get["nodes_nodeids"][i]: at for at, i in enumerate(places)}
    leaf = [get["nodes_modes"][i] == b"LEAF" for i in places]
    child = lambda key: np.array([-1 if end else place[get[key][i]] for i, end in zip(places, leaf)])
    return {
        "children_left": child("nodes_truenodeids"),
        "children_right": child("nodes_falsenodeids"),
        "children_default": child("nodes_falsenodeids"),
        "features": np.array([-2 if end else get["nodes_featureids"][i] for i, end in zip(places, leaf)]),
        "thresholds": np.array([get["nodes_values"][i] for i in places], dtype=np.float64),
        "values": np.array([[values.get((tree, get["nodes_nodeids"][i]), 0.0)] for i in places]),
        "node_sample_weight": np.ones(len(places)),
    }


def woodelf_trees(listed):
    return DecisionTreesEnsemble([woodelf_tree(tree) for tree in listed])


def woodelf_tree(tree):
    nodes = []
    for at, left in enumerate(tree["children_left"]):
        value = tree["values"][at][0] if left < 0 else tree["thresholds"][at]
        name = None if left < 0 else f"f{tree['features'][at]}"
        nodes.append(LeftIsSmallerEqualDecisionTreeNode(name, value, None, None, False, at, 1.0))
    for at, (left, right) in enumerate(zip(tree["children_left"], tree["children_right"])):
        if left >= 0:
            nodes[at].left, nodes[at].right = nodes[left], nodes[right]
            nodes[left].parent = nodes[right].parent = nodes[at]
    nodes[0].depth = nodes[0].get_depth()
    return nodes[0]


def depth(tree):
    depths = np.zeros(len(tree["values"]), dtype=int)
    open_nodes = [0]
    while open_nodes:
        at = open_nodes.pop()
        for child in (tree["children_left"][at], tree["children_right"][at]):
            if child >= 0:
                depths[child] = depths[at] + 1
                open_nodes.append(child)
    return depths.max()


if __name__ == "__main__":
    main()
