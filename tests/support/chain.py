"""The audit chain as central follows it: by the columns alone."""

import hashlib
import uuid

import pandas as pd

# The hash that the first record names.
FIRST = "0" * 64


def follow(audit: pd.DataFrame) -> None:
    """Asserts that every record has the hash of its content, and names the one before it."""
    before = FIRST if audit["sequence"].iloc[0] == 1 else audit["previous_hash"].iloc[0]
    for row in audit.itertuples():
        assert row.previous_hash == before, f"record {row.sequence} names another one"
        hashed = hashlib.sha256(bytes.fromhex(row.previous_hash) + uuid.UUID(row.record_id).bytes)
        # pandas gives nanoseconds, whatever it keeps times in.
        for number in (row.sequence, row.recorded_at.value // 1000):
            hashed.update(int(number).to_bytes(8, "little", signed=True))
        for text in (row.hashed_actor, row.action, row.hashed_object, row.outcome):
            content = text.encode()
            hashed.update(len(content).to_bytes(8, "little") + content)
        assert hashed.hexdigest() == row.hash, f"record {row.sequence} is not what its hash says"
        before = row.hash
