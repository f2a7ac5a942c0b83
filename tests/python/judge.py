"""Judges a repository as python-tuf's client sees it.

Reads one request a line from standard input and writes one answer a line to standard output, both JSON:

    {"metadata_url": ..., "targets_url": ..., "state_dir": ..., "root": FILE, "now": ISO 8601 or null,
     "expected": {PATH: [LENGTH, SHA256] or null}}
    {"error": null, or what is wrong}

State is kept in state_dir from one request to the next, as a client keeps it. An expected null: must not exist.
"""

import datetime
import hashlib
import json
import os
import pathlib
import sys

from tuf.ngclient import Updater


def judge(request: dict) -> list[str]:
    """What is wrong."""
    state = pathlib.Path(request["state_dir"])
    metadata, targets = state / "metadata", state / "targets"
    targets.mkdir(parents=True, exist_ok=True)
    updater = Updater(
        metadata_dir=str(metadata),
        metadata_base_url=request["metadata_url"],
        target_dir=str(targets),
        target_base_url=request["targets_url"],
        bootstrap=pathlib.Path(request["root"]).read_bytes(),
    )
    if request["now"] is not None:
        updater._trusted_set.reference_time = datetime.datetime.fromisoformat(request["now"])
    updater.refresh()
    mistakes = []
    for path, expected in request["expected"].items():
        info = updater.get_targetinfo(path)
        if info is None or expected is None:
            if (info is None) != (expected is None):
                mistakes.append(f"{path}: {'missing' if info is None else 'should not be there'}")
            continue
        file = updater.download_target(info, filepath=str(targets / "downloaded"))
        with open(file, "rb") as downloaded:
            digest = hashlib.file_digest(downloaded, "sha256").hexdigest()
        found = [os.path.getsize(file), digest]
        if found != expected:
            mistakes.append(f"{path}: is {found}, should be {expected}")
    return mistakes


def main() -> None:
    for line in sys.stdin:
        try:
            error = "; ".join(judge(json.loads(line))) or None
        except Exception as exception:  # whatever a client may run into is the verdict
            error = f"{type(exception).__name__}: {exception}"
        print(json.dumps({"error": error}), flush=True)


if __name__ == "__main__":
    main()
