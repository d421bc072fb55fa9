"""Running the verbs of the binary."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .paths import BINARY


@dataclass
class Done:
    """What a verb left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, which must be one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Its output, which must be one JSON document a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def explaind(*arguments: str | Path, stdin: str | None = None, seconds: float = 60.0, **env: str) -> Done:
    """Runs `explaind ARGUMENTS` and waits for it; log lines are off unless it is the daemon itself."""
    finished = subprocess.run(
        [str(BINARY), *map(str, arguments)],
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, "EXPLAIND_LOG": "off", **env},
        check=False,
    )
    return Done(finished.returncode, finished.stdout, finished.stderr)


def done(*arguments: str | Path, **options: Any) -> Done:
    """The same, for a verb that must succeed."""
    result = explaind(*arguments, **options)
    assert result.code == 0, f"explaind {' '.join(map(str, arguments))} ended with {result.code}: {result.err}"
    return result


def one_sentence(text: str) -> str:
    """Asserts that standard error holds one sentence a person can use, and returns it."""
    for never in ("panicked", "RUST_BACKTRACE", "stack backtrace", "Error {", "Os {", "Err(", "Some("):
        assert never not in text, text
    lines = text.strip().splitlines()
    assert len(lines) == 1, f"one sentence, please, instead of {len(lines)} lines:\n{text}"
    sentence = lines[0]
    assert 20 <= len(sentence) <= 500, f"{len(sentence)} characters: {sentence}"
    return sentence
