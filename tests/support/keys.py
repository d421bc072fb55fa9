"""Keys of minisign, made and used by minisign itself."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "correct horse"


@dataclass(frozen=True)
class Keys:
    """A pair of keys."""

    public: Path
    secret: Path

    def verifies(self, bundle: Path) -> bool:
        """Whether minisign says that this key signed the bundle."""
        command = ["minisign", "-V", "-q", "-m", bundle / "SHA256SUMS", "-x", bundle / "SHA256SUMS.minisig", "-p", self.public]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0

    def sign(self, bundle: Path) -> None:
        """Has minisign sign the bundle; only without a password."""
        command = ["minisign", "-S", "-m", bundle / "SHA256SUMS", "-x", bundle / "SHA256SUMS.minisig", "-s", self.secret]
        subprocess.run(command, capture_output=True, timeout=60, check=True)


def make(folder: Path, name: str = "mlops", password: str | None = None) -> Keys:
    """Makes a pair of keys; the secret one behind a password, if there is one."""
    keys = Keys(folder / f"{name}.pub", folder / f"{name}.key")
    command = ["minisign", "-G", "-f", "-p", keys.public, "-s", keys.secret, *([] if password else ["-W"])]
    answers = f"{password}\n{password}\n" if password else ""
    subprocess.run(command, input=answers, text=True, capture_output=True, timeout=120, check=True)
    return keys
