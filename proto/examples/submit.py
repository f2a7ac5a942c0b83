"""Tells the repository about files, and waits until every client can see them.

    python submit.py SERVER FILE...      for example: python submit.py 127.0.0.1:50051 dist/*.whl

The files' bytes stay where they are: only path, length and hash are sent. Needs grpcio, and code generated from the
protos; see ../README.md.
"""

import hashlib
import pathlib
import random
import sys
import time
import uuid

import grpc

from rstuf.artifacts.v1 import artifacts_pb2, artifacts_pb2_grpc
from rstuf.tasks.v1 import tasks_pb2, tasks_pb2_grpc

ATTEMPTS = 5
# After the last two it is unknown whether the call took effect: the request id makes the same again safe.
RETRIED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)


def addition(file: pathlib.Path) -> artifacts_pb2.Change:
    """The change that adds one file under its base name."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").digest()
    sha256 = artifacts_pb2.Hash(algorithm=artifacts_pb2.HASH_ALGORITHM_SHA256, digest=digest)
    return artifacts_pb2.Change(
        add=artifacts_pb2.Artifact(path=file.name, length=file.stat().st_size, hashes=[sha256])
    )


def retried(call):
    """Calls again what may work later. With a request id, the same again is the same task."""
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() not in RETRIED or attempt == ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))


def watch(tasks: tasks_pb2_grpc.TaskServiceStub, task: tasks_pb2.Task) -> tasks_pb2.Task:
    """Follows the task until it is finished."""
    told = None
    for answer in tasks.WatchTask(tasks_pb2.WatchTaskRequest(id=task.id)):
        task = answer.task
        if task.state != told:  # Progress within a state is told, too.
            told = task.state
            print(f"{task.id} {tasks_pb2.TaskState.Name(told)}", file=sys.stderr)
    return task


def main(server: str, files: list[str]) -> int:
    request = artifacts_pb2.SubmitArtifactsRequest(
        request_id=str(uuid.uuid4()),
        changes=[addition(pathlib.Path(file)) for file in files],
    )
    with grpc.insecure_channel(server) as channel:
        artifacts = artifacts_pb2_grpc.ArtifactServiceStub(channel)
        tasks = tasks_pb2_grpc.TaskServiceStub(channel)
        task = retried(lambda: artifacts.SubmitArtifacts(request, timeout=60)).task
        task = retried(lambda: watch(tasks, task))
    if task.state != tasks_pb2.TASK_STATE_DONE:
        print(f"task {task.id} failed: {task.error.message}", file=sys.stderr)
        return 1
    counts = task.counts
    print(f"{counts.added} added, {counts.replaced} replaced, {counts.unchanged} unchanged")
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print("usage: python submit.py SERVER FILE...", file=sys.stderr)
        sys.exit(2)
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except OSError as error:
        sys.exit(f"{error.filename} cannot be read: {error.strerror}")
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
