"""Configurations that several tests start from."""

from pathlib import Path

from . import bundles

GATEWAY = "test-gw"


def head(batch_records: int = 25, batch_age: str = "1s") -> str:
    """The tables that every gateway here has. Small batches, so that they close while the test looks."""
    return f"""
[gateway]
id = "{GATEWAY}"
state_dir = "state"

[registry]
type = "directory"
path = "registry"

[sync]
batch_records = {batch_records}
batch_age = "{batch_age}"

[web]
listen = "127.0.0.1:0"
demo_accounts = true
"""


def asset(bundle: Path, inputs: dict[str, str], trigger: str, name: str = "press-7") -> str:
    """A machine with one model. `trigger` is its `every` or `on` line."""
    bound = "\n".join(f'"{feature}" = "{signal}"' for feature, signal in inputs.items())
    return f"""
[[model]]
name = "press-failure"
bundle = "{bundle}"

[[asset]]
id = "{name}"
model = "press-failure"
{trigger}
[asset.inputs]
{bound}
"""


def replay(folder: Path, bundle: Path, rows: list[dict] | None = None, interval: str = "40ms") -> str:
    """One machine fed from a file: by default harmless and alarming rows in turn, for ever."""
    table = folder / "recorded.csv"
    rows = rows or [bundles.harmless()] * 6 + [bundles.alarming()] * 6
    bundles.write_rows(table, rows)
    names = list(rows[0])
    signals = "\n".join(
        f'[[source.signal]]\nname = "s{number}"\ncolumn = "{name}"' for number, name in enumerate(names)
    )
    inputs = {name: f"recorded/s{number}" for number, name in enumerate(names)}
    return f"""{head()}
[[source]]
name = "recorded"
type = "replay"
path = "{table}"
interval = "{interval}"
loop = true
{signals}
{asset(bundle, inputs, f'on = "recorded/s{len(names) - 1}"')}
"""
