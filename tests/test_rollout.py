"""Models come and go: gateways follow an alias, check before they believe, and go back by themselves."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import bundles, keys, onnx, records, scene
from support.cli import done
from support.daemon import Daemon
from support.sealed import resum
from support.wait import until

NAME = "press-failure"


@pytest.fixture(scope="module")
def mlops(tmp_path_factory) -> keys.Keys:
    """The keys of the central team."""
    return keys.make(tmp_path_factory.mktemp("mlops"))


@pytest.fixture
def central(bundle, tmp_path, mlops) -> "Central":
    """A directory registry, and what the central team does with it."""
    registry = tmp_path / "gateway" / "registry"
    registry.mkdir(parents=True)
    return Central(registry, bundle, tmp_path, mlops)


class Central:
    """Packs, signs, pushes, and moves aliases."""

    def __init__(self, registry: Path | str, bundle: Callable[..., Path], folder: Path, mlops: keys.Keys):
        self.registry, self.bundle, self.folder, self.mlops = registry, bundle, folder, mlops

    def packed(self, version: str, model: str = "ai4i-gbt", key: keys.Keys | None = None, **options: str) -> Path:
        """A signed bundle of this version."""
        copy = self.folder / f"bundle-{version}-{model}"
        if not copy.exists():
            shutil.copytree(self.bundle(model, version=version, name=NAME, **options), copy)
            done("bundle", "sign", "--bundle", copy, "--key", (key or self.mlops).secret)
        return copy

    def foreign(self, version: str, model: bytes, value: Callable[[list[float]], float] = lambda _: 0.0) -> Path:
        """A signed bundle of a model that nobody would export, with the press's features and a number `y`.

        `value` is what it answers for a row; it does not matter for one that is refused before anybody looks.
        """
        copy = self.folder / f"foreign-{version}"
        shutil.copytree(self.bundle("ai4i-mlp", version=version, name=NAME), copy)
        (copy / "model.onnx").write_bytes(model)
        bundles.answers(copy, value)
        manifest = (copy / "manifest.toml").read_text().replace('"probability"', '"y"').replace('"classification"', '"regression"')
        lines = [line for line in manifest.splitlines() if not line.startswith("labels")]
        (copy / "manifest.toml").write_text("\n".join(lines) + "\n")
        resum(copy)
        # The verb would run it.
        self.mlops.sign(copy)
        return copy

    def push(self, bundle: Path, alias: str | None = "champion", name: str = NAME) -> int:
        """Makes it a version and has the alias point at it."""
        more = ["--alias", alias] if alias else []
        return done("bundle", "push", "--bundle", bundle, "--registry", self.registry, "--name", name, *more, "--json").json["version"]

    def release(self, version: str, alias: str = "champion", **options: str) -> int:
        """Packs, signs and pushes."""
        return self.push(self.packed(version, **options), alias)


def followed(
    folder: Path, mlops: keys.Keys, model: str = "", more: str = "", interval: str = "40ms", assets: int = 1, rows: list[dict] | None = None
) -> str:
    """A gateway whose machines are fed from a file and whose model is followed."""
    rows = rows or [bundles.harmless()] * 6 + [bundles.alarming()] * 6
    source, inputs = scene.recorded(folder, rows, interval)
    machines = "".join(
        f'\n[[asset]]\nid = "press-{number}"\nmodel = "{NAME}"\non = "recorded/s{len(inputs) - 1}"\n{more}\n[asset.inputs]\n{scene.bound(inputs)}\n'
        for number in range(7, 7 + assets)
    )
    head = scene.head().replace('path = "registry"', f'path = "registry"\npoll = "1s"\ntrusted_keys = ["{mlops.public}"]')
    return f"""{head}
{source}
[[model]]
name = "{NAME}"
alias = "champion"
{model}
{machines}"""


def model(gateway: Daemon) -> dict:
    """What the status says of the model."""
    return gateway.get("status")["models"][0]


def runs(gateway: Daemon, version: str, seconds: float = 60) -> dict:
    """Waits until this version decides, and predicts."""

    def seen() -> dict | None:
        found = model(gateway)
        newest = [p for p in gateway.predictions(10) if p["role"] == "champion"]
        return found if found["version"] == version and newest and newest[0]["model_version"] == version else None

    return until(seen, f"version {version} to decide; {model(gateway)}", seconds)


def refused(gateway: Daemon, check: str | tuple[str, ...], seconds: float = 90) -> dict:
    """Waits until a bundle is refused for this."""
    checks = (check,) if isinstance(check, str) else check
    said = until(lambda: (model(gateway)["refused"] or [None])[0], "a bundle to be refused", seconds)
    assert said["check"] in checks, said
    return said


def told(gateway: Daemon) -> list[str]:
    """The model's story, as it arrived in the registry."""
    health = records.read(gateway.registry, scene.GATEWAY, "health")
    ours = health[health["subject"] == f"model/{NAME}"]
    return [f"{state} {records.as_dict(evidence).get('version')}" for state, evidence in zip(ours["state"], ours["evidence"], strict=True)]


def test_the_alias_is_followed_forth_and_back(daemon, tmp_path, central, mlops):
    """Nothing to run, a first version, a second, and back; one prediction per row all the time."""
    gateway = daemon(followed(tmp_path, mlops))
    until(lambda: gateway.predictions()[0]["withheld_reason"] == "no_model", "predictions to be withheld")
    assert model(gateway)["state"] == "no_model"
    assert NAME in until(lambda: model(gateway)["following"]["error"], "the status to say that there is no such model")
    central.release("1.0.0")
    first = runs(gateway, "1.0.0")
    assert first["signed"] and first["state"] == "trial" and first["registry_version"] == 1 and first["previous"] is None
    central.release("1.1.0")
    second = runs(gateway, "1.1.0")
    assert second["previous"]["version"] == "1.0.0"
    # Old as it is, it ran here: moving the alias back is how people go back.
    central.push(central.packed("1.0.0"))
    runs(gateway, "1.0.0")
    explained = until(
        lambda: [p for p in gateway.predictions() if p["model_version"] == "1.0.0" and p["explanation_status"] == "exact"],
        "its predictions to be explained",
    )
    assert explained[0]["model_digest"] == model(gateway)["digest"]
    until(lambda: told(gateway) == ["active 1.0.0", "active 1.1.0", "active 1.0.0"], "the story to arrive")
    gateway.kill_and_restart()
    assert model(gateway)["version"] == "1.0.0", "what runs is known without the registry"
    times = [p["source_time"] for p in gateway.predictions(500)]
    assert len(times) == len(set(times)), "one prediction per row"


def test_people_go_back_without_the_registry(daemon, tmp_path, central, mlops):
    """From the terminal; and what they went back from does not come again by itself."""
    central.release("1.0.0")
    gateway = daemon(followed(tmp_path, mlops))
    runs(gateway, "1.0.0")
    nothing = gateway.verb("bundle", "rollback", "--model", NAME)
    assert nothing.code != 0 and NAME in nothing.err
    central.release("1.1.0")
    runs(gateway, "1.1.0")
    models = gateway.registry / "models"
    models.rename(models.with_name("away"))
    said = gateway.verb("bundle", "rollback", "--model", NAME, "--reason", "too many false alarms")
    assert said.code == 0, said.err
    assert runs(gateway, "1.0.0")["refused"][0]["check"] == "person"
    models.with_name("away").rename(models)
    until(lambda: told(gateway)[-1] == "rolled_back 1.1.0", "it to be told")
    checked = model(gateway)["following"]["checked_at"]
    until(lambda: model(gateway)["following"]["checked_at"] > checked, "the registry to be looked at again")
    assert model(gateway)["version"] == "1.0.0"
    # A new version is a new chance.
    central.release("1.2.0")
    runs(gateway, "1.2.0")


def test_a_challenger_runs_beside_and_raises_nothing(daemon, tmp_path, central, mlops):
    """Shadow; canary on one machine only; promotion by the alias."""
    central.release("1.0.0")
    central.release("2.0.0", alias="challenger", model="ai4i-forest")
    gateway = daemon(followed(tmp_path, mlops, 'challenger = "challenger"', assets=2))
    runs(gateway, "1.0.0")
    beside = until(lambda: model(gateway)["challenger"], "the challenger to run", 60)
    assert beside["version"] == "2.0.0"
    compared = until(lambda: (model(gateway)["challenger"] or {}).get("agreement") is not None and model(gateway)["challenger"], "it to be compared")
    assert compared["predictions"] > 0 and 0 <= compared["agreement"] <= 1
    until(lambda: gateway.alerts(), "the champion to raise an alert")
    until(lambda: "shadow" in set(records.read(gateway.registry, scene.GATEWAY, "predictions")["role"]), "the challenger's predictions to arrive")
    arrived = records.read(gateway.registry, scene.GATEWAY, "predictions")
    shadow, champion = arrived[arrived["role"] == "shadow"], arrived[arrived["role"] == "champion"]
    assert set(shadow["model_version"]) == {"2.0.0"} and "2.0.0" not in set(champion["model_version"])
    alerts = records.read(gateway.registry, scene.GATEWAY, "alerts")
    assert not set(alerts["prediction_id"].dropna()) & set(shadow["record_id"])
    assert {p["asset"] for p in gateway.predictions(200) if p["role"] == "shadow"} == {"press-7", "press-8"}
    # The alias moves: what was checked and tried takes its place.
    central.push(central.packed("2.0.0", model="ai4i-forest"))
    promoted = runs(gateway, "2.0.0")
    assert promoted["previous"]["version"] == "1.0.0" and promoted["challenger"] is None


def test_a_canary_decides_on_its_machine_only(daemon, tmp_path, central, mlops):
    """The other machine keeps the champion."""
    central.release("1.0.0")
    central.release("2.0.0", alias="challenger", model="ai4i-forest")
    gateway = daemon(followed(tmp_path, mlops, 'challenger = "challenger"\ncanary = ["press-8"]', assets=2))

    def deciding() -> dict[str, str]:
        found = {}
        for prediction in gateway.predictions(100):
            if prediction["role"] == "champion":
                found.setdefault(prediction["asset"], prediction["model_version"])
        return found

    until(lambda: deciding() == {"press-7": "1.0.0", "press-8": "2.0.0"}, "each to have its own", 60)
    gateway.kill_and_restart()
    until(lambda: deciding() == {"press-7": "1.0.0", "press-8": "2.0.0"}, "each to have its own after a start")
    # Without the alias there is no challenger any more.
    (gateway.registry / "models" / NAME / "aliases" / "challenger").unlink()
    until(lambda: deciding() == {"press-7": "1.0.0", "press-8": "1.0.0"}, "the champion to decide everywhere", 30)
    assert model(gateway)["challenger"] is None


def test_a_rule_promotes_the_challenger(daemon, tmp_path, central, mlops):
    """Once it has agreed with the champion often enough, for long enough."""
    central.release("1.0.0")
    central.release("1.1.0", alias="challenger")
    rule = 'challenger = "challenger"\n[model.promotion]\nafter = "3s"\npredictions = 60\nagreement = 0.99'
    gateway = daemon(followed(tmp_path, mlops, rule))
    promoted = runs(gateway, "1.1.0", 90)
    assert promoted["previous"]["version"] == "1.0.0" and promoted["challenger"] is None
    health = until(lambda: records.read(gateway.registry, scene.GATEWAY, "health"), "records")
    until(lambda: "active 1.1.0" in told(gateway), "it to be told")
    health = records.read(gateway.registry, scene.GATEWAY, "health")
    causes = [records.as_dict(evidence).get("cause") or "" for evidence in health["evidence"]]
    assert any("model.promotion" in cause and "60 predictions" or "predictions" in cause for cause in causes)
    # The alias still points at the old one, which is no reason to go back.
    checked = model(gateway)["following"]["checked_at"]
    until(lambda: model(gateway)["following"]["checked_at"] > checked, "the registry to be looked at again")
    assert model(gateway)["version"] == "1.1.0"


def test_one_that_answers_nan_goes_back_by_itself(daemon, tmp_path, central, mlops):
    """It passed every check, and fails on rows that come later."""
    worn = bundles.harmless() | {"Tool wear [min]": 9999.0}
    gateway = daemon(followed(tmp_path, mlops, rows=[bundles.harmless()] * 60 + [worn] * 20))
    central.release("1.0.0")
    runs(gateway, "1.0.0")
    column = list(bundles.FEATURES).index("tool_wear_min")
    bundle = central.foreign("1.1.0", onnx.strange_beyond(6, column, 1000.0), onnx.strange_until(column, 1000.0))
    central.push(bundle)
    said = refused(gateway, "non_finite")
    assert said["version"] == "1.1.0"
    runs(gateway, "1.0.0")
    withheld = [p for p in gateway.predictions(400) if p["withheld_reason"] == "model_non_finite"]
    assert withheld and {p["model_version"] for p in withheld} == {"1.1.0"} and len(withheld) < 40, "within a second or so"
    until(lambda: told(gateway)[-2:] == ["active 1.1.0", "rolled_back 1.1.0"], "it to be told")
    ours = until(lambda: gateway.alerts("_gateway"), "the gateway's own alert")
    assert ours[0]["model"] == "model_refused" or "model" in ours[0]["sentence"]


def test_what_hangs_bloats_or_does_not_fit_is_refused_and_predictions_go_on(daemon, tmp_path, central, mlops):
    """Each is checked in a process of its own, which is all that it takes with it."""
    central.release("1.0.0")
    gateway = daemon(followed(tmp_path, mlops, 'memory = "128MiB"\nlatency = "500ms"'))
    runs(gateway, "1.0.0")
    before = gateway.predictions(1)[0]["id"]
    offers = {
        "latency": onnx.squares(6, 700, 60),
        "memory": onnx.squares(6, 8_000, 0),
        "finite": onnx.never_a_number(6),
    }
    registry = Path(central.registry) / "models" / NAME
    for number, (check, model_file) in enumerate(offers.items(), 1):
        bundle = central.foreign(f"1.{number}.0", model_file)
        # `push` would run it here; somebody else's tool does not.
        shutil.copytree(registry / "1", registry / str(10 + number), ignore=shutil.ignore_patterns("bundle"))
        shutil.copytree(bundle, registry / str(10 + number) / "bundle")
        note = registry / str(10 + number) / "version.json"
        digest = hashlib.sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest()
        note.write_text(json.dumps(json.loads(note.read_text()) | {"digest": digest}))
        (registry / "aliases" / "champion").write_text(f"{10 + number}\n")

        def said(number: int = number) -> dict | None:
            found = (model(gateway)["refused"] or [{}])[0]
            return found if found.get("registry_version") == 10 + number else None

        assert until(said, f"what fails for its {check} to be refused", 120)["check"] == check
        assert runs(gateway, "1.0.0")["version"] == "1.0.0"
    # One prediction after the other, all the while.
    everything = gateway.get("predictions", limit=1000)
    since = [p for p in everything if p["id"] > before]
    assert {p["model_version"] for p in since} == {"1.0.0"} and {p["outcome"] for p in since} == {"predicted"}


def test_verdicts_against_it_bring_the_one_before_back(daemon, tmp_path, central, mlops):
    """Five say that it was wrong."""
    central.release("1.0.0")
    gateway = daemon(followed(tmp_path, mlops))
    runs(gateway, "1.0.0")
    central.release("1.1.0", model="ai4i-forest")
    runs(gateway, "1.1.0")

    def said() -> list[dict]:
        made = [p for p in gateway.predictions(100) if p["model_version"] == "1.1.0" and p["outcome"] == "predicted"]
        return made if len(made) >= 5 else []

    for prediction in until(said, "five predictions")[:5]:
        gateway.post("feedback", {"prediction_id": prediction["id"], "verdict": "reject"})
    assert refused(gateway, "verdicts")["version"] == "1.1.0"
    runs(gateway, "1.0.0")


def test_what_cannot_be_taken_back_is_told_once_and_tried_again(daemon, tmp_path, central, mlops):
    """As on a disk that takes nothing: the log does not fill, another reason is news, and once it can it goes back."""
    gateway = daemon(followed(tmp_path, mlops))
    central.release("1.0.0")
    runs(gateway, "1.0.0")
    central.release("1.1.0", model="ai4i-forest")
    runs(gateway, "1.1.0")

    def said() -> list[dict]:
        made = [p for p in gateway.predictions(100) if p["model_version"] == "1.1.0" and p["outcome"] == "predicted"]
        return made if len(made) >= 5 else []

    made = until(said, "five predictions")[:5]
    draft = gateway.state / "models" / NAME / "state.json.part"
    draft.mkdir()
    for prediction in made:
        gateway.post("feedback", {"prediction_id": prediction["id"], "verdict": "reject"})

    def told() -> list[str]:
        return [line for line in gateway.log().splitlines() if "could not be taken back" in line]

    until(told, "the failure to be told", 30)
    # It is looked at every second.
    time.sleep(8)
    assert len(told()) == 1 and "directory" in told()[0].lower() and "verdicts say that it was wrong" in told()[0], told()
    assert model(gateway)["version"] == "1.1.0"
    draft.rmdir()
    draft.symlink_to(tmp_path / "nowhere" / "state.json")
    until(lambda: len(told()) == 2, "the other reason to be told", 90)
    draft.unlink()
    runs(gateway, "1.0.0", 120)
    assert refused(gateway, "verdicts")["version"] == "1.1.0" and len(told()) == 2


def flip(file: Path) -> None:
    """Changes one byte."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


FILES = ["MLmodel", "MODEL_CARD.md", "SHA256SUMS", "SHA256SUMS.minisig", "background.csv", "golden.csv", "manifest.toml", "model.onnx", "monitoring.json"]


def test_what_was_changed_is_refused_and_predictions_go_on(daemon, tmp_path, central, mlops):
    """A byte in each file; another key; an older version; too large; out of the folder."""
    central.release("1.0.0")
    gateway = daemon(followed(tmp_path, mlops))
    runs(gateway, "1.0.0")
    folder = gateway.registry / "models" / NAME
    aliases = folder / "aliases"
    good = central.packed("1.1.0")
    assert sorted(file.name for file in good.iterdir()) == FILES, "every file has its turn"

    def offer(number: int, change: Callable[[Path], None]) -> dict:
        """Puts a changed bundle there, as somebody with access to the registry might; returns how it is refused."""
        place = folder / str(number)
        shutil.copytree(folder / "1", place)
        shutil.rmtree(place / "bundle")
        shutil.copytree(good, place / "bundle")
        change(place / "bundle")
        note = json.loads((place / "version.json").read_text())
        note["digest"] = f"{number:064x}"
        (place / "version.json").write_text(json.dumps(note))
        (aliases / "champion").write_text(f"{number}\n")

        def said() -> dict | None:
            found = (model(gateway)["refused"] or [{}])[0]
            return found if found.get("registry_version") == number else None

        return until(said, f"version {number} to be refused", 120)

    reasons = {name: offer(100 + number, lambda place, name=name: flip(place / name)) for number, name in enumerate(FILES)}
    assert {reason["check"] for reason in reasons.values()} <= {"content", "digests", "signature", "schema"}, reasons
    other = keys.make(tmp_path, "other")

    def signed_by_another(place: Path) -> None:
        (place / "SHA256SUMS.minisig").unlink()
        other.sign(place)

    assert offer(200, signed_by_another)["check"] == "signature"
    assert offer(201, lambda place: (place / "SHA256SUMS.minisig").unlink())["check"] == "signature"

    def huge(place: Path) -> None:
        with (place / "model.onnx").open("r+b") as file:
            file.truncate(10 << 30)

    assert "10737418240" in offer(202, huge)["reason"]
    assert "plain" in (found := offer(203, lambda place: (place / "more").mkdir()))["reason"] or found["check"] == "content"
    central.release("0.9.0")
    older = until(lambda: [r for r in model(gateway)["refused"] if r["version"] == "0.9.0"], "the older one to be refused", 90)[0]
    assert older["check"] == "version" and "0.9.0" in older["reason"]
    assert runs(gateway, "1.0.0")["state"] in ("trial", "active")
    # Nothing was held up, and nothing refused is left behind.
    assert gateway.predictions()[0]["outcome"] == "predicted"
    home = gateway.state / "models" / NAME
    assert [place.name for place in home.iterdir() if place.is_dir()] == [model(gateway)["bundle_digest"]]
    central.push(good)
    runs(gateway, "1.1.0", 90)


def test_nothing_is_tried_again_before_the_alias_moves(daemon, tmp_path, central, mlops):
    """A refused bundle costs one check, not one per look."""
    gateway = daemon(followed(tmp_path, mlops))
    central.release("1.0.0", key=keys.make(tmp_path, "other"))
    refused(gateway, "signature")
    assert model(gateway)["state"] == "no_model"
    looked = model(gateway)["following"]["checked_at"]
    until(lambda: model(gateway)["following"]["checked_at"] > looked, "another look")
    assert len(model(gateway)["refused"]) == 1 and gateway.log().count("the registry has a bundle") == 1


def test_a_bundle_that_is_damaged_on_the_card_is_fetched_anew(daemon, tmp_path, central, mlops):
    """What the registry has is whole: it takes the place of what is not, and the one before decides until then."""
    central.release("1.0.0")
    gateway = daemon(followed(tmp_path, mlops))
    runs(gateway, "1.0.0")
    central.release("1.1.0")
    slot = gateway.state / "models" / NAME / runs(gateway, "1.1.0")["bundle_digest"]
    gateway.stop()
    flip(slot / "model.onnx")
    gateway.start()
    whole = runs(gateway, "1.1.0")
    assert whole["refused"][0]["check"] == "load" and "model.onnx" in whole["refused"][0]["reason"]
    done("bundle", "verify", "--bundle", slot, "--key", mlops.public)
    until(lambda: told(gateway)[-2:] == ["rolled_back 1.1.0", "active 1.1.0"], "it to be told")


def test_what_fits_no_longer_waits_for_the_configuration_to_be_put_right(daemon, tmp_path, central, mlops):
    """A key that is no longer trusted, a feature without a signal: nothing runs that must not, and nothing is lost."""
    central.release("1.0.0")
    gateway = daemon(followed(tmp_path, mlops))
    runs(gateway, "1.0.0")
    gateway.stop()
    right = gateway.config.read_text()
    (gateway.registry / "models").rename(tmp_path / "away")
    other = keys.make(tmp_path, "other")
    for wrong, says in (
        (right.replace(str(mlops.public), str(other.public)), "signed"),
        (right.replace('"Torque [Nm]" = "recorded/s4"\n', ""), "Torque"),
    ):
        assert wrong != right
        gateway.config.write_text(wrong)
        gateway.start()
        until(lambda: gateway.predictions(1)[0]["withheld_reason"] == "no_model", "predictions to be withheld")
        assert says in model(gateway)["error"] and model(gateway)["state"] == "no_model"
        gateway.stop()
    gateway.config.write_text(right)
    gateway.start()
    runs(gateway, "1.0.0")


def test_stopped_and_released(daemon, tmp_path, central, mlops):
    """From the terminal, and from the registry, which can only stop."""
    central.release("1.0.0")
    gateway = daemon(followed(tmp_path, mlops))
    runs(gateway, "1.0.0")
    done_ = gateway.verb("models", "stop", "--model", NAME, "--reason", "bearing is being replaced")
    assert done_.code == 0, done_.err
    newest = gateway.predictions(1)[0]
    until(lambda: (gateway.predictions(1)[0]["withheld_reason"] or "").startswith("stopped"), "predictions to be withheld", 5)
    assert newest is not None and model(gateway)["state"] == "stopped" and model(gateway)["stopped"]["reason"] == "bearing is being replaced"
    gateway.kill_and_restart()
    assert model(gateway)["state"] == "stopped", "it holds after a start"
    assert gateway.verb("models", "release", "--model", NAME).code == 0
    runs(gateway, "1.0.0")
    (gateway.registry / scene.GATEWAY).mkdir(exist_ok=True)
    tag = gateway.registry / scene.GATEWAY / "stop"
    tag.write_text("recall of all gateways\n")
    until(lambda: gateway.get("status")["gateway"]["stopped"], "the gateway to be stopped", 20)
    until(lambda: gateway.predictions(1)[0]["outcome"] == "withheld", "predictions to be withheld", 20)
    held = gateway.verb("models", "release", "--gateway")
    assert held.code != 0 and "registry" in held.err
    tag.unlink()
    until(lambda: gateway.get("status")["gateway"]["stopped"]["in_registry"] is False, "the tag to be gone", 20)
    silent = gateway.predictions(1)[0]["sequence"]
    since = until(lambda: [p for p in gateway.predictions() if p["sequence"] > silent + 5], "more predictions", 20)
    assert {p["outcome"] for p in since} == {"withheld"}, "the registry's silence releases nothing"
    assert gateway.verb("models", "release", "--gateway").code == 0
    runs(gateway, "1.0.0")
