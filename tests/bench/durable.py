"""How many records a second are safe from a power cut, and what that writes to the card: ours, beside a plain file with
append and fdatasync, which is the limit, and beside SQLite in WAL mode with synchronous = FULL.

    python tests/bench/durable.py [FOLDER]

FOLDER lies on the disk to measure; by default the target folder. All are measured in turns in one run; of each the
best of three rounds is shown. "written" is what the kernel counts for the process, in whole pages. A second table
says what a prediction costs on its whole way through the store: taken, explained, closed into a batch, written to the
outbox, sent and evicted; and what each part of the store handed to the kernel for it. It builds in release.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROUNDS = 3
# Bytes of a stored prediction with two inputs, its key and its share of the index.
RECORD = os.urandom(200)


def main():
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else target
    build = ["cargo", "test", "--quiet", "--release", "--workspace", "--bin", "explaind", "--no-run"]
    build += ["--message-format", "json"]
    lines = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    tests = next(found["executable"] for line in lines if (found := json.loads(line)).get("executable"))
    best: dict[str, tuple[float, float]] = {}
    for _ in range(ROUNDS):
        for name, per_second, written in [*ours(tests, folder), *peers(folder)]:
            if name not in best or per_second > best[name][0]:
                best[name] = (per_second, written)
    print(f"{'':58} {'records/s':>10} {'written/record':>15}")
    for name, (per_second, written) in best.items():
        print(f"{name:58} {per_second:10.0f} {written:15.0f}")
    whole = min(run(tests, folder, "sync::tests::wear::whole_store"), key=lambda found: found["bytes_per_record"])
    parts = ("record", "store", "journal", "outbox", "side")
    print(f"\n{'bytes per record':58} {'written':>10} " + " ".join(f"{part:>8}" for part in parts))
    figures = " ".join(f"{whole[part]:8.0f}" for part in parts)
    print(f"{'explaind: ' + whole['name']:58} {whole['bytes_per_record']:10.0f} {figures}")
    print(f"written per byte of record and explanation as they are stored: {whole['bytes_per_record'] / whole['record']:.1f}")


def run(tests: str, folder: Path, name: str) -> list[dict]:
    """The figures that a measurement among the tests prints."""
    command = [tests, "--ignored", "--nocapture", "--exact", name]
    env = {**os.environ, "EXPLAIND_BENCH_FOLDER": str(folder)}
    out = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def ours(tests: str, folder: Path):
    for found in run(tests, folder, "buffer::tests::speed::durable_records"):
        yield f"explaind: {found['name']}", found["per_second"], found["bytes_per_record"]


def peers(folder: Path):
    for group, count in ((1, 2_000), (100, 50_000)):
        how = "one by one" if group == 1 else "by hundreds"
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            yield f"plain file, append and fdatasync, {how}", *clock(count, plain(Path(scratch), count, group))
            yield f"SQLite, WAL, synchronous = FULL, {how}", *clock(count, sqlite(Path(scratch), count, group))


def plain(folder: Path, count: int, group: int):
    file = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work():
        for _ in range(count // group):
            os.write(file, RECORD * group)
            os.fdatasync(file)
        os.close(file)

    return work


def sqlite(folder: Path, count: int, group: int):
    database = sqlite3.connect(folder / "sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE records (sequence INTEGER PRIMARY KEY, id BLOB UNIQUE, content BLOB)")

    def work():
        for _ in range(count // group):
            database.execute("BEGIN")
            # Random ids would favour us: ours begin with the time.
            rows = [(time.time_ns().to_bytes(8, "big") + os.urandom(8), RECORD) for _ in range(group)]
            database.executemany("INSERT INTO records (id, content) VALUES (?, ?)", rows)
            database.execute("COMMIT")
        database.close()

    return work


def clock(count: int, work) -> tuple[float, float]:
    before, begun = written(), time.monotonic()
    work()
    return count / (time.monotonic() - begun), (written() - before) / count


def written() -> int:
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes: "):
            return int(line.split()[1])
    raise LookupError("write_bytes in /proc/self/io")


if __name__ == "__main__":
    main()
