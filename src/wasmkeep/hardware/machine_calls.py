"""The simulated board's own operations (`File.MACHINE`): what hardware does without a kernel's ioctl for it.

A real host's kernel creates the VM, its memory and its vCPU, takes the initial registers into the VMSA, and
passes guest requests to the firmware. The simulated machine is on the other side of a socket, so these
steps are operations here; their payloads are the specification's structures wherever one exists.

Linux passes SNP guest requests on inside KVM_RUN (``snp_handle_guest_req``, since 6.11). A host may have
the same here, for a number of them; or see each as an exit and pass it on, or not, itself.
"""

from __future__ import annotations

import ctypes
import struct
from enum import IntEnum

from wasmkeep.hardware.calls import Call, File, Pointer
from wasmkeep.hardware.ioctl import io
from wasmkeep.hardware.psp_sev import FirmwareCommand

u16, u32, u64 = ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64

WINDOW_GPA = 0x20_0000
WINDOW_SIZE = 1 << 20
VMSA_SIZE = 4096
MAX_READ = 1 << 20  # bytes of one HOST_READ
KVM_RUN = io(0xAE, 0x80)
EXIT_PORT = 0x10
_DESCRIPTION = 16 << 10  # bytes of room for DESCRIBE


class MachineOperation(IntEnum):
    DESCRIBE = 0x0001  # → JSON
    CREATE_GUEST = 0x0002  # scalar: bytes of memory → the window's descriptor
    SET_VMSA = 0x0003  # {address u64} → the vCPU's initial 4096-byte VMSA
    HOST_READ = 0x0004  # {gpa u64, address u64, size u64} → what a read of DRAM gives
    PASS_GUEST_REQUESTS = 0x0005  # scalar: how many guest requests the kernel passes on without an exit
    FIRMWARE = 0x0100  # + firmware command id; segment 0 is its command buffer


class GuestRequestBuffer(ctypes.LittleEndianStructure):
    """Command buffer of SNP_GUEST_REQUEST. `gctx` is 0: a connection has one guest."""

    gctx_paddr: int
    req_paddr: int
    res_paddr: int
    _fields_ = (("gctx_paddr", u64), ("req_paddr", u64), ("res_paddr", u64))


class ExitReason(IntEnum):
    """``KVM_EXIT_*`` that a guest of this machine can end in."""

    UNKNOWN = 0
    EXCEPTION = 1
    IO = 2
    HYPERCALL = 3
    DEBUG = 4
    HLT = 5
    MMIO = 6
    SHUTDOWN = 8
    FAIL_ENTRY = 9
    INTR = 10
    INTERNAL_ERROR = 17
    SYSTEM_EVENT = 24


class RunState(ctypes.LittleEndianStructure):
    """The first 64 bytes of ``struct kvm_run``, as far as a host of an SNP guest sees it.

    `port` and the fields before it are set for a port exit; `rip` and `cr2` only for a guest whose policy has
    DEBUG, as the firmware would decrypt that guest's VMSA and no other's.
    """

    exit_reason: int
    direction: int
    size: int
    port: int
    count: int
    rip: int
    cr2: int
    _fields_ = (
        ("request", ctypes.c_uint8 * 8),
        ("exit_reason", u32),
        ("ready", u32),
        ("cr8", u64),
        ("apic_base", u64),
        ("direction", ctypes.c_uint8),
        ("size", ctypes.c_uint8),
        ("port", u16),
        ("count", u32),
        ("data_offset", u64),
        ("rip", u64),
        ("cr2", u64),
    )


def describe() -> Call:
    return Call("DESCRIBE", File.MACHINE, MachineOperation.DESCRIBE, (bytes(_DESCRIPTION),))


def create_guest(memory: int) -> Call:
    return Call("CREATE_GUEST", File.MACHINE, MachineOperation.CREATE_GUEST, scalar=memory)


def set_vmsa(page: bytes) -> Call:
    if len(page) != VMSA_SIZE:
        raise ValueError("a VMSA is one page")
    return Call("SET_VMSA", File.MACHINE, MachineOperation.SET_VMSA, (bytes(8), page), (Pointer(0, 0, 1),))


def host_read(gpa: int, size: int) -> Call:
    argument = struct.pack("<QQQ", gpa, 0, size)
    return Call(
        "HOST_READ", File.MACHINE, MachineOperation.HOST_READ, (argument, bytes(size)), (Pointer(0, 8, 1),)
    )


def pass_guest_requests(count: int) -> Call:
    return Call("PASS_GUEST_REQUESTS", File.MACHINE, MachineOperation.PASS_GUEST_REQUESTS, scalar=count)


def guest_request(request_gpa: int, response_gpa: int) -> Call:
    buffer = bytes(GuestRequestBuffer(req_paddr=request_gpa, res_paddr=response_gpa))
    number = MachineOperation.FIRMWARE + FirmwareCommand.SNP_GUEST_REQUEST
    return Call("SNP_GUEST_REQUEST", File.MACHINE, number, (buffer,))


def run() -> Call:
    return Call("KVM_RUN", File.VCPU, KVM_RUN, (bytes(ctypes.sizeof(RunState)),))
