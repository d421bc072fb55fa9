"""Reading what arrived in the registry, as central would: with pandas."""

from pathlib import Path

import pandas as pd


def batches(registry: Path, gateway: str, stream: str) -> list[Path]:
    """The Parquet files of a stream, by their first sequence."""
    files = (registry / gateway / stream).glob("date=*/*.parquet")
    return sorted(files, key=lambda file: int(file.stem.split("-")[0]))


def read(registry: Path, gateway: str, stream: str, thinned: bool = False) -> pd.DataFrame:
    """All records of a stream; asserts that names, order and numbers agree. `thinned`: numbers may be missing."""
    frames = []
    for file in batches(registry, gateway, stream):
        frame = pd.read_parquet(file)
        first, last = (int(part) for part in file.stem.split("-"))
        numbers = list(frame["sequence"])
        if thinned:
            assert numbers == sorted(set(numbers)) and (numbers[0], numbers[-1]) == (first, last), f"{file}: {numbers}"
        else:
            assert numbers == list(range(first, last + 1)), f"{file} holds {numbers}"
        frames.append(frame)
    assert frames, f"no batch of {stream} has arrived in {registry}"
    return pd.concat(frames, ignore_index=True)


def as_dict(cell) -> dict:
    """A map column's cell: pandas gives a list of pairs."""
    return {} if cell is None else dict(cell)
