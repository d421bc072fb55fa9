"""Whose records they are: cloned cards and wiped ones must not harm what central has."""

import json
import shutil
from pathlib import Path

from support import records, scene
from support.daemon import Daemon
from support.wait import until


def sent(registry: Path, stream: str = "predictions") -> list[int]:
    """The numbers of a stream's records in the registry, each as often as it is there."""
    return [int(number) for number in records.read(registry, scene.GATEWAY, stream)["sequence"]]


def stopped(gateway: Daemon) -> dict:
    """What sync says once it has stopped."""
    return until(
        lambda: sync if (sync := gateway.get("status")["sync"])["state"] == "stopped" else None, "sync to stop", 60
    )


def contents(registry: Path) -> dict[Path, bytes]:
    """All batches, byte for byte."""
    return {file: file.read_bytes() for file in registry.glob("**/*.parquet")}


def adopt(registry: Path, store: str) -> None:
    """What a person does who says that this store takes the place of the one before."""
    mark = registry / scene.GATEWAY / "store.json"
    mark.write_text(json.dumps({"gateway": scene.GATEWAY, "store_id": store}))


def store_of(gateway: Daemon) -> str:
    """The id of a gateway's store."""
    return gateway.get("status")["buffer"]["store_id"]


def test_a_cloned_card_is_stopped_and_may_take_over(daemon, bundle, tmp_path):
    """The original goes on; the clone gets an id of its own, and sends what is its own once a person says so."""
    text = scene.replay(tmp_path, bundle())
    original = daemon(text)
    registry = original.registry
    until(lambda: len(sent(registry)) > 50, "batches to arrive", 60)
    original.kill()
    shutil.copytree(original.state, tmp_path / "clone" / "state", ignore=shutil.ignore_patterns("*.sock"))
    original.start()
    # The card was in a machine with other hardware: as far as the clone can tell, that is.
    side = tmp_path / "clone" / "state" / "buffer.high_water"
    known = json.loads(side.read_text())
    assert known["machine"], "it knows which machine it is on"
    known["machine"] = {kind: ["0" * 32] for kind in known["machine"]}
    # As earlier versions wrote it: what a bad card changes is not believed.
    del known["checksum"]
    side.write_text(json.dumps(known))

    clone = daemon(text, "clone", EXPLAIND__REGISTRY__TYPE="directory", EXPLAIND__REGISTRY__PATH=str(registry))
    said = stopped(clone)["error"]
    assert "copied from" in said and "another [gateway] id" in said and store_of(clone) in said, said
    assert store_of(clone) != known["store_id"] == store_of(original)
    before = len(sent(registry))
    until(lambda: len(sent(registry)) > before + 50, "the original to go on", 60)
    assert original.stop() == 0
    last = sent(registry)
    assert last == list(range(1, len(last) + 1)), "the original's records, each once"

    kept = contents(registry)
    adopt(registry, store_of(clone))
    until(lambda: len(sent(registry)) > len(last) + 20, "the clone to go on", 120)
    assert clone.stop() == 0
    assert all(file.read_bytes() == content for file, content in kept.items()), "what was there is there"
    numbers = sent(registry)
    own = numbers[len(last) :]
    assert numbers[: len(last)] == last and own[0] > 1 << 40, "what the original sent does not come again"
    assert own == list(range(own[0], own[0] + len(own)))


def test_a_wiped_card_counts_on_above(daemon, bundle, tmp_path):
    """A new store under a name that central knows: nothing is overwritten, and no number is given twice."""
    text = scene.replay(tmp_path, bundle())
    gateway = daemon(text)
    until(lambda: len(sent(gateway.registry)) > 50, "batches to arrive", 60)
    assert gateway.stop() == 0
    before, kept = sent(gateway.registry), contents(gateway.registry)
    shutil.rmtree(gateway.state)
    gateway.start()
    said = stopped(gateway)["error"]
    assert "belongs to another store" in said and store_of(gateway) in said, said
    assert contents(gateway.registry) == kept
    adopt(gateway.registry, store_of(gateway))
    until(lambda: len(sent(gateway.registry)) > len(before) + 20, "the new store to go on", 120)
    assert gateway.stop() == 0
    assert all(file.read_bytes() == content for file, content in kept.items()), "what was there is there"
    numbers = sent(gateway.registry)
    own = numbers[len(before) :]
    assert numbers[: len(before)] == before and own == list(range(own[0], own[0] + len(own))) and own[0] > 1 << 40
