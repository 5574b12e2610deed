"""`files`: files in a keep beside wasmtime's preopened directory and gocryptfs, the same program on all.

Where the files of a keep are is the `Place`: a volume of the host's where this release has volumes, else the
keep's private memory. A figure is a rate: how much more was done in a long run than in a short one, over how
much longer it took; less than a millisecond longer counts as one. *Cold* runs read what nobody has in memory:
a keep that has just mounted, and here files whose pages have been dropped. *Warm* ones go over the same 8 MiB
again and again.
gocryptfs (a Debian package) is measured where it is installed and ``/dev/fuse`` may be used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import places
from benchmarks.hosting import BUILD
from benchmarks.peer import Peer
from benchmarks.places import Place
from benchmarks.programs import compile_c
from benchmarks.results import Result, median
from benchmarks.timing import Subject, interleaved, milliseconds_since

__all__ = ["METRICS", "Metric", "measure"]

_PEER_FOLDER: Final = "data"
_DIRECTORY: Final = "preopened directory"
_GOCRYPTFS: Final = "gocryptfs"
_WARM, _COLD = 8 << 20, 64 << 20
_MEBIBYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure. ``ours`` and ``theirs``: how often the program does it in a long run, there and here."""

    name: str
    operation: str
    file: int
    block: int
    ours: int
    theirs: int
    cold: bool = False

    @property
    def unit(self) -> str:
        return "MiB/s" if self.block else "/s"

    def arguments(self, folder: str, count: int) -> tuple[str, ...]:
        return (folder, self.operation, str(self.file), str(self.block), str(count))

    def short(self, much: int) -> int:
        """How often in a short run. For `unlink`, a negative number: make the same files, unlink none."""
        return -much if self.operation == "unlink" else 1

    def amount(self, much: int) -> float:
        """What a long run does more than a short one: MiB, or times."""
        times = much if self.operation == "unlink" else much - 1
        return times * self.block / _MEBIBYTE if self.block else times


METRICS: Final = (
    Metric("read seq 64k", "read", _COLD, 64 << 10, 1024, 1024, cold=True),
    Metric("read seq 64k warm", "read", _WARM, 64 << 10, 40_000, 6_000),
    Metric("read rand 64k", "read_random", _COLD, 64 << 10, 512, 512, cold=True),
    Metric("read seq 4k", "read", _COLD, 4 << 10, 16_384, 16_384, cold=True),
    Metric("read seq 4k warm", "read", _WARM, 4 << 10, 400_000, 10_000),
    Metric("read rand 4k", "read_random", _COLD, 4 << 10, 2_000, 2_000, cold=True),
    Metric("read rand 4k warm", "read_random", _WARM, 4 << 10, 400_000, 10_000),
    Metric("write seq 64k", "write", _COLD, 64 << 10, 2_048, 2_048),
    Metric("write seq 4k warm", "write", _WARM, 4 << 10, 200_000, 10_000),
    Metric("write rand 4k", "write_random", _COLD, 4 << 10, 4_000, 4_000),
    Metric("write rand 4k warm", "write_random", _WARM, 4 << 10, 200_000, 10_000),
    Metric("create small warm", "create", 0, 0, 10_000, 500),
    Metric("stat", "stat", 0, 0, 200_000, 10_000),
    Metric("unlink", "unlink", 0, 0, 10_000, 500),
    Metric("append 128 sync", "append", 0, 0, 300, 300),
)


async def measure(
    *,
    rounds: int = 5,
    work: float = 1.0,
    metrics: tuple[Metric, ...] = METRICS,
    place: Callable[[Path], AbstractAsyncContextManager[Place]] | None = None,
) -> list[Result]:
    """``work`` scales how much is done. ``place``: see `places`; default: a volume, else memory."""
    program = compile_c("files", BUILD)
    results: list[Result] = []
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=BUILD)))
        peers = {_DIRECTORY: _peer(program, root / "plain")}
        encrypted = stack.enter_context(_mounted(root))
        if encrypted is not None:
            peers[_GOCRYPTFS] = _peer(program, encrypted)
        async with (place or places.default())(program) as ours:
            print(f"files: in {ours.name}", file=sys.stderr)
            for metric in metrics:
                if metric.cold and ours.host_folder is None:
                    continue  # what is in memory is never cold
                results += await _measured(metric, ours, peers, root, rounds, work)
    return results


async def _measured(
    metric: Metric, place: Place, peers: dict[str, Peer], root: Path, rounds: int, work: float
) -> list[Result]:
    ours, theirs = (max(2, int(count * work)) for count in (metric.ours, metric.theirs))
    subjects: dict[str, Subject] = {}
    for length, count in (("long", ours), ("short", metric.short(ours))):
        subjects[f"keep {length}"] = _in_keep(metric, place, count)
    for name, peer in peers.items():
        for length, count in (("long", theirs), ("short", metric.short(theirs))):
            subjects[f"{name} {length}"] = _in_wasmtime(metric, peer, root, count)
    samples = await interleaved(subjects, rounds=rounds)

    def rate(name: str, count: int) -> float:
        took = median(samples[f"{name} long"]) - median(samples[f"{name} short"])
        return metric.amount(count) * 1000 / max(took, 1.0)

    keep = rate("keep", ours)
    found = [
        Result("files", metric.name, keep, metric.unit, *_beside(_DIRECTORY, keep, rate(_DIRECTORY, theirs)))
    ]
    if _GOCRYPTFS in peers:
        beside = _beside(_GOCRYPTFS, keep, rate(_GOCRYPTFS, theirs))
        found.append(Result("files", f"{metric.name} gocryptfs", keep, metric.unit, *beside))
    return found


def _beside(name: str, ours: float, theirs: float) -> tuple[str, float]:
    return f"{name}: {theirs:,.0f}", ours / theirs


def _in_keep(metric: Metric, place: Place, count: int) -> Subject:
    async def subject() -> float:
        workload = place.workload(*metric.arguments(place.folder, count))
        if metric.cold and place.host_folder is not None:
            _drop(place.host_folder)
        run = await workload.run()
        _require(run.stdout)
        return run.milliseconds

    return subject


def _in_wasmtime(metric: Metric, peer: Peer, root: Path, count: int) -> Subject:
    async def subject() -> float:
        if metric.cold:
            _drop(root)
        began = time.perf_counter_ns()
        output = peer.run(*metric.arguments(_PEER_FOLDER, count))
        took = milliseconds_since(began)
        _require(output)
        return took

    return subject


def _peer(program: Path, folder: Path) -> Peer:
    (folder / _PEER_FOLDER).mkdir(parents=True)
    return Peer(program, BUILD, root=folder)


def _require(output: bytes) -> None:
    if output != b"done\n":
        raise RuntimeError(f"wrong output: {output!r}")


def _drop(folder: Path) -> None:
    """Let the computer forget the pages of every file below: the next one to read them is cold."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


@contextmanager
def _mounted(root: Path) -> Iterator[Path | None]:
    """A folder of gocryptfs, its ciphertext beside it; None where there is no gocryptfs to be had."""
    lacking = _lacking()
    if lacking:
        print(f"files: gocryptfs is not measured: {lacking}", file=sys.stderr)
        yield None
        return
    secret, cipher, plain = root / "password", root / "cipher", root / "encrypted"
    secret.write_text("of a benchmark\n")
    cipher.mkdir()
    plain.mkdir()
    tool = ("gocryptfs", "-q", "-nosyslog", "-passfile", str(secret))
    subprocess.run([*tool, "-init", str(cipher)], check=True)
    subprocess.run([*tool, str(cipher), str(plain)], check=True, stdout=subprocess.DEVNULL)
    try:
        yield plain
    finally:
        unmount = shutil.which("fusermount3") or shutil.which("fusermount") or "umount"
        subprocess.run(
            [unmount, "-u", str(plain)] if unmount != "umount" else [unmount, str(plain)], check=True
        )


def _lacking() -> str | None:
    if shutil.which("gocryptfs") is None:
        return "it is not installed"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is absent or not permitted"
    return None
