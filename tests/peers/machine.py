"""The machine that the peers serve: six signals named after AI4I 2020, set by hand or taken from its rows.

Line protocol on standard input, one command a line, answered on standard output:

    set NAME VALUE     ok            give a signal a value
    get NAME           VALUE
    bad NAME           ok            the sensor fails: the peer reports bad quality, as its protocol can
    good NAME          ok            the sensor works again
    remove NAME        ok            the peer no longer has this signal
    add NAME           ok            the peer has it again
    quit                             stop; so does the end of the input

What a peer does not know is answered with `error: …`. On start it prints `port N`.
"""

import argparse
import asyncio
import csv
import itertools
import socket
import sys

TYPES = {"L": 0.0, "M": 1.0, "H": 2.0}

# The signals' names, AI4I's columns, and values of a healthy machine to begin with.
SIGNALS = {
    "type": ("Type", 1.0),
    "air_temperature": ("Air temperature [K]", 298.1),
    "process_temperature": ("Process temperature [K]", 308.6),
    "rotational_speed": ("Rotational speed [rpm]", 1551.0),
    "torque": ("Torque [Nm]", 42.8),
    "tool_wear": ("Tool wear [min]", 0.0),
}


def parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0, help="0: pick a free one; it is printed")
    parser.add_argument("--csv", help="cycle through the rows of this file (AI4I 2020's columns)")
    parser.add_argument("--interval", type=float, default=0.2, help="seconds between two rows")
    return parser


def rows(path: str):
    """The file's rows for ever, each as a value per signal."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        table = list(csv.DictReader(file))
    for row in itertools.cycle(table):
        yield {
            name: TYPES.get(row[column], 0.0) if name == "type" else float(row[column])
            for name, (column, _) in SIGNALS.items()
        }


async def play(peer, path: str, interval: float) -> None:
    for row in rows(path):
        for name, value in row.items():
            await peer.set(name, value)
        await asyncio.sleep(interval)


async def obey(peer) -> None:
    """Carries out commands from standard input until it ends. Without one (a daemon's /dev/null) it just waits."""
    reader = asyncio.StreamReader()
    try:
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    except (OSError, ValueError):
        await asyncio.Event().wait()
    while line := (await reader.readline()).decode().split():
        if line[0] == "quit":
            return
        try:
            answer = await command(peer, line)
        except Exception as error:  # a test's mistake must show in its transcript, not end the peer
            answer = f"error: {error!r}"
        print(answer, flush=True)


async def command(peer, line: list[str]) -> str:
    if len(line) > 1 and line[1] not in SIGNALS:
        return f"error: unknown signal {line[1]}"
    match line:
        case ["set", name, value]:
            await peer.set(name, float(value))
        case ["get", name]:
            return str(await peer.get(name))
        case ["bad", name]:
            await peer.fail(name, True)
        case ["good", name]:
            await peer.fail(name, False)
        case ["remove", name]:
            await peer.remove(name)
        case ["add", name]:
            await peer.add(name)
        case _:
            return f"error: unknown command {' '.join(line)}"
    return "ok"


async def serve(peer, args: argparse.Namespace) -> None:
    """Runs a peer until it is told to stop."""
    print(f"port {await peer.start(args.port)}", flush=True)
    player = asyncio.create_task(play(peer, args.csv, args.interval)) if args.csv else None
    try:
        await obey(peer)
    finally:
        if player:
            player.cancel()
        await peer.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
