"""The configurations that people start from: what stands in them is true."""

import re

import pytest

from support import bundles
from support.cli import explaind
from support.paths import PROJECT

CONFIG = PROJECT / "config"


def test_the_defaults_with_every_example_in_them_are_valid(bundle, tmp_path):
    """Each commented example of `explaind.toml` works as it stands: a # with no space after it is to be removed."""
    text = (CONFIG / "explaind.toml").read_text()
    examples = re.sub(r"(?m)^#(?=[^\s#-]|  )", "", text)
    assert examples.count("[[source]]") == 4
    # What it names is there, where it names it: relative to its own folder.
    config = tmp_path / "explaind.toml"
    config.write_text(examples)
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "press-failure").symlink_to(bundle("ai4i-gbt"))
    bundles.write_rows(tmp_path / "recorded.csv", [bundles.harmless()])
    valid = explaind("check", "--config", config)
    assert valid.code == 0, valid.err


@pytest.mark.parametrize("file", sorted((CONFIG / "examples").glob("*.toml")), ids=lambda file: file.name)
def test_examples_are_valid_where_they_are(file):
    """They can be looked at, copied and filled in."""
    valid = explaind("check", "--config", file)
    assert valid.code == 0, valid.err
