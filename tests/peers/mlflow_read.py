"""Reads a gateway's run with MLflow's own client and prints it as one line of JSON; or sets one of its tags.

    mlflow_read.py URL GATEWAY [TAG VALUE]
"""

import json
import sys
from pathlib import Path

import mlflow
import pandas as pd


def main(url: str, gateway: str, *tag: str) -> None:
    mlflow.set_tracking_uri(url)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("explaind")
    runs = client.search_runs([experiment.experiment_id], f"tags.`explaind.gateway` = '{gateway}'")
    assert len(runs) == 1, f"{len(runs)} runs of {gateway}"
    [run] = runs
    if tag:
        client.set_tag(run.info.run_id, *tag)
        return
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=gateway))
    streams = {}
    for file in sorted(folder.glob("*/date=*/*.parquet"), key=lambda file: int(file.stem.split("-")[0])):
        frame = pd.read_parquet(file)
        assert file.stem == f"{frame['sequence'].iloc[0]}-{frame['sequence'].iloc[-1]}", file
        streams.setdefault(file.parts[-3], []).extend(int(number) for number in frame["sequence"])
    print(json.dumps({"tags": run.data.tags, "metrics": run.data.metrics, "streams": streams}))


main(*sys.argv[1:])
