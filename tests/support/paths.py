"""Where things are in the project."""

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PROJECT = TESTS.parent
MODELS = TESTS / "models"
PEERS = TESTS / "peers"
DEMO = PROJECT / "config" / "demo.toml"
BINARY = Path(os.environ.get("EXPLAIND_BINARY", PROJECT / "target" / "debug" / "explaind"))
CHROMIUM = "/usr/bin/chromium"

LONG = os.environ.get("EXPLAIND_LONG") == "1"
