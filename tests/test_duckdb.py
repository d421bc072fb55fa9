"""The central team reads the registry with DuckDB: all gateways at once, by day, maps by name."""

import math

import duckdb
import pandas as pd
import pytest

from support import records, scene
from support.wait import until


@pytest.fixture
def registry(daemon, bundle, tmp_path):
    """A directory registry with some batches of each stream."""
    gateway = daemon(scene.replay(tmp_path, bundle()))
    alert = until(lambda: next(iter(gateway.alerts()), None), "an alert")
    gateway.post("feedback", {"alert_id": alert["id"], "verdict": "reject", "relevant": ["Torque [Nm]"]})
    until(lambda: len(records.batches(gateway.registry, scene.GATEWAY, "predictions")) >= 3, "predictions", 60)
    assert gateway.stop() == 0
    return gateway.registry


def test_every_stream_reads_as_pandas_reads_it(registry):
    """Same rows, same columns; the day is a column of its own, from the names of the folders."""
    for folder in sorted((registry / scene.GATEWAY).iterdir()):
        if not folder.is_dir():
            continue
        stream = folder.name
        pattern = f"{registry}/*/{stream}/date=*/*.parquet"
        table = duckdb.sql(f"SELECT * FROM read_parquet('{pattern}', hive_partitioning = true) ORDER BY sequence")
        frame = records.read(registry, scene.GATEWAY, stream)
        assert set(table.columns) == {*frame.columns, "date"}, stream
        rows = table.fetchall()
        assert len(rows) == len(frame)
        column = table.columns.index
        assert [row[column("record_id")] for row in rows] == list(frame["record_id"])
        recorded = [pd.Timestamp(row[column("recorded_at")]) for row in rows]
        assert recorded == list(frame["recorded_at"])
        days = {path.parent.name.removeprefix("date=") for path in records.batches(registry, scene.GATEWAY, stream)}
        assert {str(row[column("date")]) for row in rows} == days


def test_maps_and_lists_are_read_by_name(registry):
    """`inputs['Torque [Nm]']` is the value, `attributions` add up, and what people named as relevant is a list."""
    predictions = f"read_parquet('{registry}/*/predictions/date=*/*.parquet')"
    found = duckdb.sql(
        f"""SELECT sequence, inputs['Torque [Nm]'], attributions['Torque [Nm]'],
                   base_value + list_sum(map_values(attributions)), probability
            FROM {predictions} WHERE outcome = 'predicted' AND explanation_status = 'exact' ORDER BY sequence"""
    ).fetchall()
    frame = records.read(registry, scene.GATEWAY, "predictions").set_index("sequence")
    assert found
    for sequence, torque, share, total, probability in found:
        row = frame.loc[sequence]
        assert torque == records.as_dict(row["inputs"])["Torque [Nm]"]
        assert share == records.as_dict(row["attributions"])["Torque [Nm]"]
        assert row["space"] == "margin"
        assert abs(1 / (1 + math.exp(-total)) - probability) < 1e-6, "what is added up is what was predicted"
    keys = duckdb.sql(f"SELECT DISTINCT unnest(map_keys(inputs)) FROM {predictions}").fetchall()
    assert {key for (key,) in keys} == set(records.as_dict(frame["inputs"].iloc[0]))
    relevant = duckdb.sql(f"SELECT relevant FROM read_parquet('{registry}/*/feedback/date=*/*.parquet')").fetchall()
    assert relevant == [(["Torque [Nm]"],)]
    joined = duckdb.sql(
        f"""SELECT p.label, f.verdict FROM read_parquet('{registry}/*/feedback/date=*/*.parquet') f
            JOIN {predictions} p ON p.record_id = f.prediction_id"""
    ).fetchall()
    assert joined and joined[0][1] == "reject", "what was judged is found by its id"
