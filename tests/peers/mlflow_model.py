"""Opens a model of MLflow's registry with MLflow's own client and prints what it predicts, as one line of JSON.

    mlflow_model.py URL NAME ALIAS ROWS.csv
"""

import json
import sys

import mlflow
import numpy as np
import onnxruntime
import pandas as pd


def main(url: str, name: str, alias: str, rows: str) -> None:
    mlflow.set_tracking_uri(url)
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias(name, alias)
    frame = pd.read_csv(rows)
    model = mlflow.onnx.load_model(f"models:/{name}@{alias}")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    values = frame.to_numpy(dtype=np.float32)
    wanted = {output.name: session.run([output.name], {given.name: values})[0] for output in session.get_outputs()}
    numbers = {key: value.tolist() for key, value in wanted.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"}
    # The same from a data frame with the features' names. MLflow makes one of the answer, too, where it is one column.
    framed = mlflow.pyfunc.load_model(f"models:/{name}@{alias}")
    alone = len(session.get_outputs()) == 1
    same = alone and all(np.allclose(framed.predict(frame)[key].to_numpy(), np.ravel(numbers[key])) for key in numbers)
    found = {
        "outputs": numbers,
        "framed": same,
        "version": int(version.version),
        "tags": version.tags,
        "description": version.description,
        "versions": len(client.search_model_versions(f"name = '{name}'")),
        "status": client.get_run(version.run_id).info.status,
    }
    print(json.dumps(found))


main(*sys.argv[1:])
