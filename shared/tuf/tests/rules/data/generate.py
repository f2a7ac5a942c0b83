"""Writes vectors.json: what securesystemslib 1.6 and python-tuf 7 make of the same inputs.

    pip install securesystemslib==1.6.0 tuf==7.0.1 cryptography && python generate.py
"""

import json
import pathlib
from datetime import datetime, timezone

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import (
    DelegatedRole, Delegations, Metadata, MetaFile, Role, Root, Snapshot, SuccinctRoles, TargetFile, Targets, Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

CANONICAL = [
    {}, [], None, True, False, 0, -1, 9007199254740991, -9007199254740991, "", "plain",
    'quote " and back\\slash', "tab\tnewline\nreturn\rnul\u0000bell\u0007del\u007f", "/slash/", "\u00e9 \ufb01 \u2028",
    "e\u0301 stays decomposed", "\U0001f512 beyond the first plane", {"a": 1, "aa": 2, "a-": 3, "A": 4, "": 5},
    {"\uffff": 1, "\U00010000": 2, "\u00e9": 3, "z": 4}, {"b": [1, {"d": None, "c": [True, "\n"]}], "a": {}},
    {"key\"with\\both\n": [[], [[]]]},
]
PATHS = ["a", "f.txt", "dir/file2.txt", "releases/1.0/app.tar.gz", "d\u00e9j\u00e0/vu.bin", "a b/c+d%20e", "x" * 300]
GLOBS = ["*", "*.txt", "a*c", "*a*b*", "?", "??", "a/*", "a/*/c", "*/*", "a?c", "**", "a/b/c", "*.tar.*", "a*", "*c", "a**c"]
GLOB_PATHS = ["a", "ab", "abc", "aXbYc", "f.txt", "a/b", "a/b/c", "a/f.txt", "x.tar.gz", "ac", "a/c", "aab", "xaxbx", "a*c", "\u00e9"]
EXPIRES = datetime(2030, 1, 31, 23, 59, 59, tzinfo=timezone.utc)

signer = CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
                      SSlibKey.from_crypto(Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()))
key = signer.public_key


def role(terminating, name, **kw):
    return DelegatedRole(name, [key.keyid], 1, terminating, **kw)


def sealed(document):
    metadata = Metadata(document)
    metadata.sign(signer)
    return metadata.to_bytes(JSONSerializer(compact=True)).decode()


def documents():
    root = Root(expires=EXPIRES, consistent_snapshot=True, unrecognized_fields={"x-note": {"kept": [1, "\n"]}})
    for name in ("root", "targets", "snapshot", "timestamp"):
        root.add_key(key, name)
    target = TargetFile(3, {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}, "dir/abc",
                        {"custom": {"build": 7}, "x-more": True})
    listed = Targets(expires=EXPIRES, targets={"dir/abc": target}, delegations=Delegations({key.keyid: key}, {
        "apps": role(True, "apps", paths=["apps/*"]), "half": role(False, "half", path_hash_prefixes=["0", "1f"])}))
    succinct = Targets(expires=EXPIRES, delegations=Delegations({key.keyid: key}, succinct_roles=SuccinctRoles(
        [key.keyid], 1, 8, "bins")))
    snapshot = Snapshot(expires=EXPIRES, meta={"targets.json": MetaFile(1), "apps.json": MetaFile(
        2, 77, {"sha256": "00" * 32}, {"x-kept": 1})})
    return {"root": sealed(root), "targets": sealed(listed), "targets-succinct": sealed(succinct),
            "snapshot": sealed(snapshot), "timestamp": sealed(Timestamp(expires=EXPIRES))}


def matches(glob, path):
    return DelegatedRole("r", [key.keyid], 1, False, paths=[glob]).is_delegated_path(path)


vectors = {
    "canonical": [{"json": json.dumps(value), "canonical": encode_canonical(value)} for value in CANONICAL],
    "key": {"seed": bytes(range(32)).hex(), "keyid": key.keyid, "public": key.keyval["public"]},
    "bins": [{"path": path, "bits": bits, "role": SuccinctRoles([key.keyid], 1, bits, "bins").get_role_for_target(path)}
             for path in PATHS for bits in (1, 2, 3, 4, 5, 8, 9, 14, 20, 32)],
    "globs": {glob: [path for path in GLOB_PATHS if matches(glob, path)] for glob in GLOBS},
    "glob_paths": GLOB_PATHS,
    "documents": documents(),
}
pathlib.Path(__file__).with_name("vectors.json").write_text(json.dumps(vectors, indent=1) + "\n")
