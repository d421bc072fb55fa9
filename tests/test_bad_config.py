"""Configurations that people get wrong: each gets one sentence that names file, line and key, and exit code 78."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import bundles
from support.cli import explaind, one_sentence

# A configuration that is right. `{bundle}` and `{table}` are filled in.
GOOD = """\
[gateway]
id = "line-3"
state_dir = "state"

[[source]]
name = "press-plc"
type = "modbus"
url = "tcp://127.0.0.1:1502"
interval = "1s"
  [[source.signal]]
  name = "torque"
  register = "holding"
  address = 0
  type = "f32"
  unit = "Nm"
  [[source.signal]]
  name = "speed"
  register = "holding"
  address = 2
  type = "f32"

[[source]]
name = "line-opc"
type = "opcua"
url = "opc.tcp://127.0.0.1:4840"
  [[source.signal]]
  name = "air"
  node = "ns=2;s=Air"

[[source]]
name = "floor"
type = "mqtt"
url = "mqtt://127.0.0.1:1883"
  [[source.signal]]
  name = "process"
  topic = "plant/press-7"
  pointer = "/temperature"
  [[source.signal]]
  name = "kind"
  topic = "plant/press-7"
  pointer = "/kind"

[[source]]
name = "recorded"
type = "replay"
path = "{table}"
interval = "200ms"
  [[source.signal]]
  name = "wear"
  column = "Tool wear [min]"

[[model]]
name = "press-failure"
bundle = "{bundle}"

[[asset]]
id = "press-7"
model = "press-failure"
every = "1s"
active_when = { signal = "press-plc/torque", above = 1.0 }
  [asset.inputs]
  "Type" = "floor/kind"
  "Air temperature [K]" = "line-opc/air"
  "Process temperature [K]" = "floor/process"
  "Rotational speed [rpm]" = "press-plc/speed"
  "Torque [Nm]" = "press-plc/torque"
  "Tool wear [min]" = "recorded/wear"

[registry]
type = "directory"
path = "registry"

[sync]
batch_records = 5000
batch_age = "1m"

[buffer]
max_bytes = "2GiB"

[web]
listen = "127.0.0.1:8090"
"""


# A rule of the asset, before its inputs.
FALLBACK = """  [asset.fallback]
  when = [{when}]
  priority = "high"
  [asset.inputs]"""


@dataclass(frozen=True)
class Wrong:
    """One mistake: `old` becomes `new`, and the line of `at` (by default the first line of what is new) must be named."""

    name: str
    old: str
    new: str
    # What the sentence must say, beside file and line: the key, and what is wrong with it.
    says: tuple[str, ...]
    at: str = ""
    line: bool = True


WRONG = [
    Wrong("no TOML at all", 'id = "line-3"', 'id = "line-3', ("TOML",)),
    Wrong("a key twice", 'id = "line-3"', 'id = "line-3"\nid = "line-4"', ("duplicate key",), at='id = "line-4"'),
    Wrong("unknown table", "[sync]", "[synch]", ("synch",)),
    Wrong("unknown key", 'id = "line-3"', 'id = "line-3"\nnickname = "x"', ("gateway.nickname", "unknown"), at="nickname"),
    Wrong("unknown key of a source", "interval = \"1s\"", "intervall = \"1s\"", ("source[0].intervall", "unknown")),
    Wrong("unknown key of a signal", '  node = "ns=2', '  knode = "ns=2', ("source[1].signal[0]", "knode")),
    Wrong("a number as a name", 'id = "line-3"', "id = 3", ("gateway.id", "string")),
    Wrong("a name that is a path", 'id = "line-3"', 'id = "../line"', ("gateway.id", "../line")),
    Wrong("a word as a count", "batch_records = 5000", 'batch_records = "many"', ("sync.batch_records",)),
    Wrong("a count below zero", "batch_records = 5000", "batch_records = -1", ("sync.batch_records",)),
    Wrong("a duration without unit", 'batch_age = "1m"', 'batch_age = "60"', ("sync.batch_age", '"60"')),
    Wrong("a size that is none", '"2GiB"', '"plenty"', ("buffer.max_bytes", '"plenty"')),
    Wrong("an unknown type of source", 'type = "mqtt"', 'type = "kafka"', ("source[2].type", '"kafka"', "mqtt")),
    Wrong("a source without a type", 'type = "opcua"\n', "", ("source[1]", "type"), at='[[source]]\nname = "line-opc"'),
    Wrong("two sources of one name", 'name = "floor"', 'name = "line-opc"', ("source[2].name", '"line-opc"')),
    Wrong("two signals of one name", 'name = "speed"', 'name = "torque"', ("source[0].signal[1].name", '"torque"')),
    Wrong("a port that is none", "127.0.0.1:1502", "127.0.0.1:99999", ("source[0].url", "99999")),
    Wrong("a URL of another protocol", "opc.tcp://127", "http://127", ("source[1].url", "opc.tcp://")),
    Wrong("a register beyond the last", "address = 2", "address = 70000", ("source[0].signal[1].address", "70000")),
    Wrong("an unknown register type", 'type = "f32"\n  unit', 'type = "f16"\n  unit', ("source[0].signal[0].type", "f16")),
    Wrong("a node id that is none", "ns=2;s=Air", "Air", ("source[1].signal[0].node", "Air")),
    Wrong("a topic with wildcards", "plant/press-7", "plant/#", ("source[2].signal[0].topic", "plant/#")),
    Wrong("a pointer without a slash", '"/temperature"', '"temperature"', ("source[2].signal[0].pointer", "temperature")),
    Wrong("a replay of nothing", 'path = "{table}"', 'path = "nowhere.csv"', ("source[3].path", "nowhere.csv")),
    Wrong("a replay without the column", 'column = "Tool wear [min]"', 'column = "Wear"', ("source[3]", "Wear")),
    Wrong("an asset with a missing signal", '= "press-plc/speed"', '= "press-plc/sped"', ("Rotational speed [rpm]", "press-plc/sped")),
    Wrong("an asset with a missing model", 'model = "press-failure"\nevery', 'model = "press"\nevery', ("asset[0].model", '"press"')),
    Wrong("an asset that is the gateway", 'id = "press-7"', 'id = "_gateway"', ("asset[0].id", "_gateway")),
    Wrong("an asset without its trigger", 'every = "1s"\nactive', "active", ("asset[0]", "every", "on"), at="[[asset]]"),
    Wrong("an asset with two triggers", 'every = "1s"\nactive', 'every = "1s"\non = "floor/kind"\nactive', ("asset[0]", "every", "on"), at="[[asset]]"),
    Wrong("a limit on nothing", "above = 1.0", "", ("asset[0].active_when", "above"), at="active_when"),
    Wrong("an asset with neither model nor pass_through", 'model = "press-failure"\nevery', "every", ("asset[0]", "model", "pass_through"), at="[[asset]]"),
    Wrong("an asset with both", 'every = "1s"\nactive', 'every = "1s"\npass_through = true\nactive', ("asset[0]", "model", "pass_through"), at="[[asset]]"),
    Wrong("a rule on an unknown signal", "  [asset.inputs]", FALLBACK.format(when='{ signal = "press-plc/sped", above = 80.0 }'), ("asset[0].fallback.when[0].signal", "press-plc/sped"), at="when = ["),
    Wrong("a rule without a limit", "  [asset.inputs]", FALLBACK.format(when='{ signal = "press-plc/speed" }'), ("asset[0].fallback.when[0]", "above", "below"), at="when = ["),
    Wrong("a rule without conditions", "  [asset.inputs]", FALLBACK.format(when=""), ("asset[0].fallback.when", "above"), at="when = ["),
    Wrong("a rule without a priority", "  [asset.inputs]", FALLBACK.format(when='{ signal = "press-plc/speed", above = 80.0 }').replace('priority = "high"', ""), ("asset[0].fallback", "priority"), at="[asset.fallback]"),
    Wrong("a rule beside pass_through", 'model = "press-failure"\nevery', 'pass_through = true\nfallback = { when = [], priority = "low" }\nevery', ("asset[0].fallback", "pass_through"), at="fallback ="),
    Wrong("a feature unknown to the model", '"Tool wear [min]" = "rec', '"Wear" = "rec', ("asset[0].inputs", "Wear", "Tool wear [min]")),
    Wrong("a feature without a signal", '  "Torque [Nm]" = "press-plc/torque"\n', "", ("asset[0].inputs", "Torque [Nm]"), at="[asset.inputs]"),
    Wrong("a unit that differs", 'unit = "Nm"', 'unit = "lbf ft"', ("Torque [Nm]", "lbf ft", "Nm"), at='"Torque [Nm]" ='),
    Wrong("a bundle that is not there", 'bundle = "{bundle}"', 'bundle = "nowhere"', ("model[0].bundle", "nowhere")),
    Wrong("one table instead of many", "[[model]]", "[model]", ("model", "[[model]]")),
    Wrong("an unknown registry", 'type = "directory"', 'type = "ftp"', ("registry.type", "ftp")),
    Wrong("a page for everybody", "127.0.0.1:8090", "0.0.0.0:8090", ("web.listen", "0.0.0.0")),
    Wrong("a page on no port", "127.0.0.1:8090", "127.0.0.1:99999", ("web.listen", "99999")),
    Wrong("no source at all", GOOD[GOOD.index("[[source]]"):GOOD.index("[[model]]")], "", ("source",), line=False),
    Wrong("no gateway", GOOD[:GOOD.index("[[source]]")], "", ("gateway",), line=False),
]  # fmt: skip


@pytest.fixture(scope="session")
def parts(bundle, tmp_path_factory) -> dict[str, str]:
    """What the configuration names outside itself."""
    table = tmp_path_factory.mktemp("recorded") / "recorded.csv"
    bundles.write_rows(table, [bundles.harmless()])
    return {"{bundle}": str(bundle("ai4i-gbt")), "{table}": str(table)}


def fill(text: str, parts: dict[str, str]) -> str:
    """`{name}` replaced, and nothing else: the text has braces of its own."""
    for name, value in parts.items():
        text = text.replace(name, value)
    return text


def check(config: Path):
    """`explaind check` on a configuration."""
    return explaind("check", "--config", config)


def test_the_configuration_that_the_others_break_is_right(parts, tmp_path):
    """Else none of the tests below would say anything."""
    config = tmp_path / "good.toml"
    config.write_text(fill(GOOD, parts))
    right = check(config)
    assert right.code == 0, right.err
    assert right.err == ""


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_one_sentence_with_file_line_and_key(wrong, parts, tmp_path):
    """The whole point of an error: what, where, what to do."""
    assert GOOD.count(wrong.old) >= 1, "the mistake must be made somewhere"
    text = GOOD.replace(wrong.old, wrong.new, 1)
    place = text.index(wrong.at) if wrong.at else GOOD.index(wrong.old)
    expected = text[:place].count("\n") + 1 if wrong.line else None
    config = tmp_path / "wrong.toml"
    config.write_text(fill(text, parts))

    refused = check(config)

    assert refused.code == 78, refused
    sentence = one_sentence(refused.err)
    assert "wrong.toml" in sentence
    for word in wrong.says:
        assert word in sentence, f"{word!r} is not in: {sentence}"
    if expected:
        named = re.search(r"wrong\.toml, line (\d+)", sentence)
        assert named, sentence
        assert int(named[1]) == expected, f"line {expected} would be right: {sentence}"


@pytest.mark.parametrize("wrong", WRONG[::8], ids=lambda wrong: wrong.name)
def test_the_daemon_refuses_it_in_the_same_words(wrong, parts, tmp_path):
    """`run` and `check` agree, and nothing is left behind."""
    config = tmp_path / "wrong.toml"
    config.write_text(fill(GOOD.replace(wrong.old, wrong.new, 1), parts))
    refused = explaind("run", "--config", config)
    assert (refused.code, refused.err) == (78, check(config).err)
    assert not (tmp_path / "state").exists()


def test_the_file_is_missing(tmp_path):
    """The commonest mistake of all."""
    refused = check(tmp_path / "nowhere.toml")
    assert refused.code in (66, 78)
    assert "nowhere.toml" in one_sentence(refused.err)


def test_the_file_is_no_text(tmp_path):
    """Bytes that are no UTF-8."""
    config = tmp_path / "wrong.toml"
    config.write_bytes(b'[gateway]\nid = "\xff\xfe"\n')
    refused = check(config)
    assert refused.code == 78
    assert "wrong.toml" in one_sentence(refused.err)


def test_a_fragment_is_named_by_its_own_file_and_line(parts, tmp_path):
    """A mistake in `explaind.d` is not blamed on the main file."""
    config = tmp_path / "explaind.toml"
    config.write_text(fill(GOOD, parts))
    fragments = tmp_path / "explaind.d"
    fragments.mkdir()
    (fragments / "10-more.toml").write_text('\n[sync]\nbatch_records = "many"\n')
    sentence = one_sentence(check(config).err)
    assert "10-more.toml, line 3" in sentence and "sync.batch_records" in sentence


def test_an_override_is_named_by_its_variable(parts, tmp_path):
    """What comes from the environment stands in no file."""
    config = tmp_path / "explaind.toml"
    config.write_text(fill(GOOD, parts))
    refused = explaind("check", "--config", config, EXPLAIND__SYNC__BATCH_RECORDS="many")
    assert refused.code == 78
    sentence = one_sentence(refused.err)
    assert "EXPLAIND__SYNC__BATCH_RECORDS" in sentence or "sync.batch_records" in sentence


def test_a_password_in_the_configuration_is_refused_and_not_repeated(parts, tmp_path):
    """Secrets come from files or credentials; an error must not carry them into a log."""
    config = tmp_path / "wrong.toml"
    text = GOOD.replace('url = "mqtt://127.0.0.1:1883"', 'url = "mqtt://maria:hunter2@127.0.0.1:1883"')
    config.write_text(fill(text, parts))
    refused = check(config)
    assert refused.code == 78
    assert "hunter2" not in one_sentence(refused.err)
