"""A disk whose power can be cut: an ext4 image on a loop device.

Killing a process loses nothing that it wrote. A power cut loses whatever no `fsync` had passed on, and that is asked of
ext4 here: it stops at once, and forgets what is not on the device.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

# EXT4_IOC_SHUTDOWN, and its flag for "do not even flush the journal".
SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


class Disk:
    """A mounted file system of its own. Where none may be mounted the test is skipped, and says so."""

    def __init__(self, folder: Path, megabytes: int = 256):
        folder.mkdir(parents=True, exist_ok=True)
        self.image = folder / "disk.img"
        self.path = folder / "disk"
        self.path.mkdir()
        with self.image.open("wb") as image:
            image.truncate(megabytes << 20)
        run("mkfs.ext4", "-q", "-F", self.image)
        self.mounted, self.mounts = False, 0
        try:
            self.mount()
        except AssertionError as error:
            pytest.skip(f"no disk to cut the power of: {error}")

    def mount(self) -> None:
        """Power is back."""
        run("mount", "-o", "loop", self.image, self.path)
        self.mounted, self.mounts = True, 1

    def cut(self) -> None:
        """From now on nothing reaches the device any more."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(handle)

    def protect(self) -> None:
        """It is mounted for reading only. Nobody may have a file open on it for writing."""
        run("mount", "-o", "remount,ro", self.path)

    def release(self) -> None:
        """It takes writes again."""
        run("mount", "-o", "remount,rw", self.path)

    def give_up(self) -> None:
        """The file system has met an error, and takes no writes any more, whoever has files open."""
        run("mount", "-o", "remount,abort", self.path)

    def put_right(self) -> None:
        """What is on the device is mounted anew, in the same place; who has old files open keeps those."""
        mended = self.image.with_suffix(".mended")
        shutil.copyfile(self.image, mended)
        checked = subprocess.run(["fsck.ext4", "-y", "-f", mended], capture_output=True, text=True, timeout=60)
        assert checked.returncode in (0, 1), checked.stdout
        run("mount", "-o", "loop", mended, self.path)
        self.mounts += 1

    def unmount(self) -> None:
        """Nobody may have a file open on it."""
        for _ in range(self.mounts if self.mounted else 0):
            run("umount", self.path)
        self.mounted, self.mounts = False, 0

    def replug(self) -> None:
        """After a cut, and once all who used it are gone: what is on the device is there again."""
        self.unmount()
        self.mount()


def run(*command: str | Path) -> None:
    """Runs a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"
