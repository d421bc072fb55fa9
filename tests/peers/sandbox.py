"""Runs a command behind what the service's unit takes away, where no systemd runs: `sandbox.py UNIT COMMAND…`.

Taken from the unit: SystemCallFilter with SystemCallErrorNumber, MemoryDenyWriteExecute, RestrictNamespaces, RestrictRealtime,
NoNewPrivileges, CapabilityBoundingSet (empty), LimitNOFILE and UMask. The calls in a set are asked of systemd itself, and the
filter is made by the library that systemd uses. Not here: the file system's view (ProtectSystem and its like), cgroups.
"""

import ctypes
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
MASKED = 7
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
# What unshare, clone and setns may make new.
NAMESPACES = (0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00020000)
REALTIME = (1, 2, 6)
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 38, 24


class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("how", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def settings(unit: Path) -> dict[str, list[str]]:
    """The values of each key, in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, is_set, value = line.partition("=")
        if is_set and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def calls(name: str) -> set[str]:
    """The calls of a set, with those of the sets in it."""
    if not name.startswith("@"):
        return {name}
    said = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", name], capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for line in said.splitlines()[1:] if line.startswith(" ")]
    return set().union(*(calls(line) for line in lines if line and not line.startswith("#")))


def allowed(filters: list[str]) -> set[str]:
    """What a row of SystemCallFilter leaves: the first says what is allowed, others take from it or add to it."""
    left: set[str] = calls("@default")
    for value in filters:
        names = set().union(*(calls(name) for name in value.removeprefix("~").split()))
        left = left - names if value.startswith("~") else left | names
    return left


def shut_in(unit: dict[str, list[str]]) -> None:
    """From here on."""
    libc = ctypes.CDLL(None, use_errno=True)
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    seccomp.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Comparison)]
    seccomp.seccomp_load.argtypes = [ctypes.c_void_p]

    def load(default: int, rules: list[tuple[int, str, Comparison | None]]) -> None:
        context = seccomp.seccomp_init(default)
        for action, name, comparison in rules:
            number = seccomp.seccomp_syscall_resolve_name(name.encode())
            if number >= 0:
                added = seccomp.seccomp_rule_add_array(context, action, number, 1 if comparison else 0, comparison)
                assert added == 0, (name, added)
        assert seccomp.seccomp_load(context) == 0

    refuse = ERRNO | errno.EPERM
    assert unit["SystemCallErrorNumber"] == ["EPERM"]
    assert [unit[key] for key in ("MemoryDenyWriteExecute", "RestrictNamespaces", "RestrictRealtime", "NoNewPrivileges")] == [["yes"]] * 4
    assert unit["CapabilityBoundingSet"] == [""]
    left = allowed(unit["SystemCallFilter"])
    limit = int(unit["LimitNOFILE"][0])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    os.umask(int(unit["UMask"][0], 8))
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0

    def has(argument: int, bits: int) -> Comparison:
        return Comparison(argument, MASKED, bits, bits)

    both = PROT_WRITE | PROT_EXEC
    load(ALLOW, [(refuse, "mmap", has(2, both)), (refuse, "mprotect", has(2, PROT_EXEC)), (refuse, "pkey_mprotect", has(2, PROT_EXEC)), (refuse, "shmat", has(2, SHM_EXEC))])
    made = [(refuse, name, has(argument, flag)) for name, argument in (("unshare", 0), ("clone", 0), ("setns", 1)) for flag in NAMESPACES]
    # Its flags lie in memory, where no filter looks: systemd has it look like an old kernel, and so it is here.
    load(ALLOW, [*made, (ERRNO | errno.ENOSYS, "clone3", None)])
    load(ALLOW, [(refuse, "sched_setscheduler", has(1, policy)) for policy in REALTIME])
    load(refuse, [(ALLOW, name, None) for name in sorted(left)])


if __name__ == "__main__":
    shut_in(settings(Path(sys.argv[1])))
    os.execv(sys.argv[2], sys.argv[2:])
