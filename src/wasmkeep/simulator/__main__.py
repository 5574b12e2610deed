"""``python -m wasmkeep.simulator``: boot the machine, say that it is ready, serve until told to stop.

One JSON line on standard output says that it is ready and what it is. It stops on SIGTERM, SIGINT and
SIGHUP, and when standard input is a pipe or socket that closes, so that it never outlives whoever started
it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import signal
import socket
import stat
import sys
from contextlib import suppress
from dataclasses import replace
from types import FrameType
from typing import Any

from wasmkeep.errors import PlatformUnavailable, WasmkeepError
from wasmkeep.hardware.kvm import prepare_signals
from wasmkeep.hardware.process import forbid_core_dumps, keep_freed_memory
from wasmkeep.simulator.board import Board
from wasmkeep.simulator.cloud import load_or_create as load_or_create_cloud
from wasmkeep.simulator.cpu import CpuKind, GuestPlan
from wasmkeep.simulator.guest_factory import GuestFactory
from wasmkeep.simulator.kvm_cpu import KvmCpuKind
from wasmkeep.simulator.nursery import Nursery
from wasmkeep.simulator.options import Options, parse
from wasmkeep.simulator.process_cpu import ProcessCpuKind
from wasmkeep.simulator.roots import Endorser, Identity, load_or_create
from wasmkeep.simulator.secure_processor import Configuration, SecureProcessor
from wasmkeep.simulator.server import Server
from wasmkeep.simulator.sev_device import SevDevice
from wasmkeep.simulator.sev_kernel import SevKernel

_PROBE_MEMORY = 4 << 20
_KEPT_MEMORY = 16 << 20  # bytes


def main(arguments: list[str]) -> int:
    """The exit code: 0 after an ordinary end, else that of the error on standard error."""
    try:
        options = parse(arguments)
        forbid_core_dumps()
        _allow_many_descriptors()
        keep_freed_memory(_KEPT_MEMORY)
        stop = _stop_signals()
        cpu = _choose_cpu(options.cpu)
        try:
            _serve(options, cpu, [stop, *_parents_pipe()])
        finally:
            cpu.close()
    except WasmkeepError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def _allow_many_descriptors() -> None:
    """Each guest needs about six; the ordinary limit of 1024 would end at 170."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _serve(options: Options, cpu: CpuKind, ends: list[int]) -> None:
    server = Server(options.socket)
    try:
        identity = load_or_create(options.state, options.machine, options.configuration.product, _say)
        endorser = Endorser(identity)
        endorser.publish(revoke_ask=options.revoke_ask)
        processor = _processor(options, identity, endorser)
        description = _describe(options, identity, cpu)
        kernel = SevKernel(processor.sev, processor.slots, snp=options.configuration.product.has_snp)
        factory = GuestFactory(processor, kernel, cpu)
        board = Board(SevDevice(processor, kernel), factory, description)
        ready = {"ready": True, "socket": os.fspath(options.socket), "pid": os.getpid()}
        sys.stdout.write(
            json.dumps({**ready, "root": f"sha256:{identity.root_sha256}", **description}) + "\n"
        )
        sys.stdout.flush()
        server.serve(board, ends)
    finally:
        server.close()


def _processor(options: Options, identity: Identity, endorser: Endorser) -> SecureProcessor:
    """With a cloud's key loaded, if one was asked for."""
    configuration = _trusting(options, identity)
    if options.vlek is None:
        return SecureProcessor(identity.chip, configuration, endorser.publish_vcek)
    cloud = load_or_create_cloud(identity, options.vlek, _say)
    cloud.publish_chain(endorser.crl())

    def endorse(tcb: int) -> None:
        endorser.publish_vcek(tcb)
        cloud.publish_vlek(tcb)

    processor = SecureProcessor(identity.chip, configuration, endorse)
    processor.snp_vlek_load(cloud.wrapped(configuration.reported_tcb))
    return processor


def _trusting(options: Options, identity: Identity) -> Configuration:
    """To a machine its own root is AMD's, beside those it was told of."""
    given = options.configuration
    return replace(given, amd_roots=given.amd_roots | {bytes.fromhex(identity.root_sha256)})


def _say(text: str) -> None:
    sys.stderr.write(f"simulated machine: {text} …\n")
    sys.stderr.flush()


def _describe(options: Options, identity: Identity, cpu: CpuKind) -> dict[str, Any]:
    """What the machine says of itself, here and to hosts."""
    facts = options.configuration
    firmware = facts.firmware
    sev = facts.sev or facts.product.sev
    min_sev_asid = facts.min_sev_asid or facts.slots + 1
    return {
        "simulated": True,
        "machine": options.machine,
        "product": facts.product.name,
        "cpu": cpu.name,
        "cpu_reason": cpu.reason,
        "root_sha256": identity.root_sha256,
        "slots": min_sev_asid - 1,
        "sev_slots": facts.slots - min_sev_asid + 1,
        "chip_id": identity.chip.chip_id.hex(),
        "kds": os.fspath(identity.kds.absolute()),
        "emulator": importlib.util.find_spec("unicorn") is not None,
        "tees": _tees(facts, min_sev_asid),
        "firmware": f"{firmware.major}.{firmware.minor}.{firmware.build}",
        "report_version": firmware.report_version,
        "sev_firmware": f"{sev.major}.{sev.minor}.{sev.build}",
    }


def _tees(facts: Configuration, min_sev_asid: int) -> list[dict[str, Any]]:
    """The kinds of guests that there are key slots for; SNP and SEV-ES share theirs."""
    slots = {"snp": min_sev_asid - 1 if facts.product.has_snp else 0}
    slots |= {"sev-es": min_sev_asid - 1, "sev": facts.slots - min_sev_asid + 1}
    return [{"kind": kind, "slots": number} for kind, number in slots.items() if number]


def _choose_cpu(wanted: str) -> CpuKind:
    """Raises `PlatformUnavailable` when KVM was asked for and does not work here."""
    reason = "chosen with --cpu process"
    if wanted != "process":
        try:
            return _kvm_cpu()
        except PlatformUnavailable as error:
            if wanted == "kvm":
                raise
            reason = f"{error.message}: {error.found}"
    return ProcessCpuKind(reason, Nursery())


def _kvm_cpu() -> KvmCpuKind:
    """KVM, tried with a guest that is made and destroyed."""
    prepare_signals()
    kind = KvmCpuKind()
    try:
        kind.create(GuestPlan(_PROBE_MEMORY, window=True, sev_features=0)).destroy()
    except OSError as error:
        kind.close()
        raise PlatformUnavailable(
            "platform.kvm.unusable",
            "/dev/kvm makes no virtual machines here",
            found=os.strerror(error.errno or 0),
        ) from error
    return kind


def _stop_signals() -> int:
    """A descriptor that becomes readable when the process is told to stop."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)

    def stop(_number: int, _frame: FrameType | None) -> None:
        with suppress(BlockingIOError):  # it was told often enough
            writer.send(b"\0")

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    return reader.detach()


def _parents_pipe() -> list[int]:
    """Standard input where it is a pipe or socket: it hangs up when whoever holds the other end is gone."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return []
    return [0] if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
