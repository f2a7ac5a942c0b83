"""Makes a repository as a script with bare python-tuf does: no service, nothing durable, nothing checked.

    python bare.py FOLDER ARTIFACTS BINS ROUNDS

Signs so many artifacts into so many bins and writes the repository into the folder; then adds one more in each round,
starting from the files. Writes the seconds of the first, and the median of the rounds, to standard output as JSON.
"""

import datetime
import hashlib
import json
import pathlib
import statistics
import sys
import time

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Delegations,
    Metadata,
    MetaFile,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)

EXPIRES = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(days=30)


class Repository:
    """Files in a folder, and the keys that sign them."""

    def __init__(self, folder: pathlib.Path, bins: int):
        self.folder = folder
        self.online, self.bins_key = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
        self.roles = SuccinctRoles([self.bins_key.public_key.keyid], 1, bins.bit_length() - 1, "bins")

    def write(self, name: str, signed, signer) -> MetaFile:
        """Signs a document and writes it; answers what lists it."""
        document = Metadata(signed)
        document.sign(signer)
        data = document.to_bytes()
        (self.folder / name).write_bytes(data)
        return MetaFile(signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    def read(self, name: str):
        """What a document says."""
        return Metadata.from_file(str(self.folder / name)).signed

    def publish(self, bins: dict[str, Targets], snapshot: Snapshot, timestamp: Timestamp) -> None:
        """Writes bins, and what names them."""
        for role, signed in bins.items():
            snapshot.meta[f"{role}.json"] = self.write(f"{signed.version}.{role}.json", signed, self.bins_key)
        timestamp.snapshot_meta = self.write(f"{snapshot.version}.snapshot.json", snapshot, self.online)
        self.write("timestamp.json", timestamp, self.online)

    def put(self, number: int, bins: dict[str, Targets]) -> None:
        """Puts an artifact into its bin."""
        path = path_of(number)
        digest = hashlib.sha256(f"{number} 0".encode()).hexdigest()
        bins[self.roles.get_role_for_target(path)].targets[path] = TargetFile(10**6 + number, {"sha256": digest}, path)

    def begin(self, artifacts: int) -> None:
        """The first publication."""
        bins = {role: Targets(expires=EXPIRES) for role in self.roles.get_roles()}
        for number in range(artifacts):
            self.put(number, bins)
        key = self.bins_key.public_key
        targets = Targets(expires=EXPIRES, delegations=Delegations({key.keyid: key}, succinct_roles=self.roles))
        snapshot = Snapshot(expires=EXPIRES)
        snapshot.meta["targets.json"] = self.write("1.targets.json", targets, self.online)
        self.publish(bins, snapshot, Timestamp(expires=EXPIRES))

    def add(self, number: int) -> None:
        """One artifact more, as the next publication."""
        timestamp = self.read("timestamp.json")
        snapshot = self.read(f"{timestamp.snapshot_meta.version}.snapshot.json")
        role = self.roles.get_role_for_target(path_of(number))
        signed = self.read(f"{snapshot.meta[f'{role}.json'].version}.{role}.json")
        self.put(number, {role: signed})
        for document in (signed, snapshot, timestamp):
            document.version += 1
        self.publish({role: signed}, snapshot, timestamp)


def path_of(number: int) -> str:
    """As the benchmark's artifacts have it."""
    return f"project-{number % 977}/release-{number % 31}/artifact-{number}.tar.gz"


def seconds(work) -> float:
    """How long something takes."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def main() -> None:
    """Does both."""
    artifacts, bins, rounds = (int(text) for text in sys.argv[2:])
    repository = Repository(pathlib.Path(sys.argv[1]), bins)
    all_at_once = seconds(lambda: repository.begin(artifacts))
    one = statistics.median(seconds(lambda: repository.add(artifacts + round)) for round in range(rounds))
    json.dump({"all": all_at_once, "one": one}, sys.stdout)


if __name__ == "__main__":
    main()
