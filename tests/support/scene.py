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
    return f"""
[[model]]
name = "press-failure"
bundle = "{bundle}"

[[asset]]
id = "{name}"
model = "press-failure"
{trigger}
[asset.inputs]
{bound(inputs)}
"""


def recorded(folder: Path, rows: list[dict], interval: str = "40ms") -> tuple[str, dict[str, str]]:
    """A source that replays these rows for ever, and its signals by the features that they are."""
    table = bundles.write_rows(folder / "recorded.csv", rows)
    names = list(rows[0])
    signals = "\n".join(f'[[source.signal]]\nname = "s{number}"\ncolumn = "{name}"' for number, name in enumerate(names))
    source = f"""
[[source]]
name = "recorded"
type = "replay"
path = "{table}"
interval = "{interval}"
loop = true
{signals}
"""
    return source, {name: f"recorded/s{number}" for number, name in enumerate(names)}


def bound(inputs: dict[str, str]) -> str:
    """The lines below `[asset.inputs]`."""
    return "\n".join(f'"{feature}" = "{signal}"' for feature, signal in inputs.items())


def replay(folder: Path, bundle: Path, rows: list[dict] | None = None, interval: str = "40ms") -> str:
    """One machine fed from a file: by default harmless and alarming rows in turn, for ever."""
    rows = rows or [bundles.harmless()] * 6 + [bundles.alarming()] * 6
    source, inputs = recorded(folder, rows, interval)
    return f"""{head()}
{source}
{asset(bundle, inputs, f'on = "recorded/s{len(inputs) - 1}"')}
"""
