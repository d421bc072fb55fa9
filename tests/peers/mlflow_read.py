"""Reads a gateway's run with MLflow's own client and prints it as one line of JSON; or does what a person might to it.

    mlflow_read.py URL GATEWAY [tag KEY VALUE | delete | create STORE]
"""

import json
import sys
from pathlib import Path

import mlflow
import pandas as pd


def main(url: str, gateway: str, *deed: str) -> None:
    mlflow.set_tracking_uri(url)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("explaind")
    if deed[:1] == ("create",):
        client.create_run(experiment.experiment_id, tags={"explaind.gateway": gateway, "explaind.store": deed[1]})
        return
    runs = client.search_runs([experiment.experiment_id], f"tags.`explaind.gateway` = '{gateway}'")
    assert len(runs) == 1, f"{len(runs)} runs of {gateway}"
    [run] = runs
    if deed[:1] == ("tag",):
        client.set_tag(run.info.run_id, *deed[1:])
        return
    if deed[:1] == ("delete",):
        client.delete_run(run.info.run_id)
        return
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=gateway))
    streams, ids = {}, {}
    for file in sorted(folder.glob("*/date=*/*.parquet"), key=lambda file: int(file.stem.split("-")[0])):
        frame = pd.read_parquet(file)
        assert file.stem == f"{frame['sequence'].iloc[0]}-{frame['sequence'].iloc[-1]}", file
        streams.setdefault(file.parts[-3], []).extend(int(number) for number in frame["sequence"])
        # A week of predictions is counted by its numbers.
        if file.parts[-3] != "predictions":
            ids.setdefault(file.parts[-3], []).extend(frame["record_id"])
    print(json.dumps({"tags": run.data.tags, "metrics": run.data.metrics, "streams": streams, "ids": ids}))


main(*sys.argv[1:])
