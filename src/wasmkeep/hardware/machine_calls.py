"""The simulated board's own operations (`File.MACHINE`): what hardware does without a kernel's ioctl for it.

A real host's kernel creates the VM, its memory and its vCPU, takes the initial registers into the VMSA, and
passes guest requests to the firmware. The simulated machine is on the other side of a socket, so these
steps are operations here; their payloads are the specification's structures wherever one exists.

A host maps its guest's memory and reads and writes there. Here it names that memory by address, `GUEST_HVA` +
guest-physical address, wherever a structure of the kernel's has a user address, and reads and writes it by
HOST_READ and HOST_WRITE. Private pages are ciphertext in both directions.

Linux passes SNP guest requests on inside KVM_RUN (``snp_handle_guest_req``, since 6.11). A host may have
the same here, for a number of them; or see each as an exit and pass it on, or not, itself.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, IntFlag

from wasmkeep.hardware import kvm_structures as k
from wasmkeep.hardware.calls import Call, File, Pointer
from wasmkeep.hardware.kvm_sev import VmType
from wasmkeep.hardware.psp_sev import FirmwareCommand

u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64

WINDOW_GPA = 0x20_0000
WINDOW_SIZE = 1 << 20
VMSA_SIZE = 4096
MAX_READ = 1 << 20  # bytes of one HOST_READ or HOST_WRITE
GUEST_HVA = 0x7000_0000_0000  # where the host has its guest's memory mapped, so to speak
EXIT_PORT = 0x10
RUN_DATA = 4096  # bytes of room for what a bare guest's port exit carries (KVM_PIO_PAGE_OFFSET's page)
_DESCRIPTION = 16 << 10  # bytes of room for DESCRIBE


class MachineOperation(IntEnum):
    DESCRIBE = 0x0001  # → JSON
    CREATE_GUEST = 0x0002  # CreateGuest → the window's descriptor, where there is a window
    SET_VMSA = 0x0003  # {address u64} → the vCPU's initial 4096-byte VMSA
    HOST_READ = 0x0004  # HostAccess → what a read of DRAM gives
    PASS_GUEST_REQUESTS = 0x0005  # scalar: how many guest requests the kernel passes on without an exit
    HOST_WRITE = 0x0006  # HostAccess: what the host, or a device for it, writes to DRAM
    FIRMWARE = 0x0100  # + firmware command id; segment 0 is its command buffer


class CpuChoice(IntEnum):
    """What runs a guest: the machine's own kind of CPU (``kvm`` or ``process``), or the emulated one."""

    OWN = 0
    EMULATED = 1


class View(IntEnum):
    """Who looks at memory: the hypervisor's loads, a device's DMA, a dump of cold DRAM."""

    HYPERVISOR = 0
    DEVICE = 1
    COLD_BOOT = 2


class GuestFlags(IntFlag):
    WINDOW = 1 << 0  # a keep: 1 MiB of shared window at `WINDOW_GPA`, and one port by which it exits


class CreateGuest(ctypes.LittleEndianStructure):
    """24 bytes. `memory` in bytes; `vm_type` as of KVM_CREATE_VM."""

    memory: int
    vm_type: int
    cpu: int
    flags: int
    _fields_ = (("memory", u64), ("vm_type", u32), ("cpu", u32), ("flags", u32), ("zero", u32))


class HostAccess(ctypes.LittleEndianStructure):
    """32 bytes. `size` bytes at guest-physical `gpa`, into or out of the host's memory at `address`."""

    gpa: int
    address: int
    size: int
    view: int
    _fields_ = (("gpa", u64), ("address", u64), ("size", u64), ("view", u32), ("zero", u32))


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


class RunIo(ctypes.LittleEndianStructure):
    """KVM_EXIT_IO: `count` values of `size` bytes each, at `data_offset` of the whole."""

    _fields_ = (("direction", u8), ("size", u8), ("port", u16), ("count", u32), ("data_offset", u64))


class RunMmio(ctypes.LittleEndianStructure):
    """KVM_EXIT_MMIO: an access outside memory; the host fills `mmio_data` in before it runs the guest on."""

    _fields_ = (("phys_addr", u64), ("mmio_data", u8 * 8), ("len", u32), ("is_write", u8))


class RunExit(ctypes.Union):
    _anonymous_ = ("io", "mmio")
    _fields_ = (("io", RunIo), ("mmio", RunMmio))


class RunState(ctypes.LittleEndianStructure):
    """The beginning of ``struct kvm_run`` as a host sees it, 56 bytes, and then `rip` and `cr2`; 72 in all.

    Of SEV-ES and SNP guests only the exit port shows; `rip` and `cr2` only of a guest whose registers its
    hypervisor may see, which for SNP is one whose policy has DEBUG. A bare guest's port data follows, at
    `data_offset`, where the host left room for it; there the host also answers an input before the next run.
    """

    exit_reason: int
    direction: int
    size: int
    port: int
    count: int
    data_offset: int
    phys_addr: int
    mmio_data: ctypes.Array[ctypes.c_uint8]
    len: int
    is_write: int
    rip: int
    cr2: int
    _anonymous_ = ("exit",)
    _fields_ = (
        ("request", u8 * 8),
        ("exit_reason", u32),
        ("ready", u32),
        ("cr8", u64),
        ("apic_base", u64),
        ("exit", RunExit),
        ("rip", u64),
        ("cr2", u64),
    )


RUN_STATE_SIZE = ctypes.sizeof(RunState)


def describe() -> Call:
    return Call("DESCRIBE", File.MACHINE, MachineOperation.DESCRIBE, (bytes(_DESCRIPTION),))


def create_guest(
    memory: int,
    vm_type: VmType = VmType.SNP,
    *,
    cpu: CpuChoice = CpuChoice.OWN,
    flags: GuestFlags = GuestFlags.WINDOW,
) -> Call:
    """KVM_CREATE_VM with memory and one vCPU. Without a window it is a bare guest, of whole pages."""
    argument = bytes(CreateGuest(memory=memory, vm_type=vm_type, cpu=cpu, flags=flags))
    return Call("CREATE_GUEST", File.MACHINE, MachineOperation.CREATE_GUEST, (argument,))


def set_vmsa(page: bytes) -> Call:
    if len(page) != VMSA_SIZE:
        raise ValueError("a VMSA is one page")
    return Call("SET_VMSA", File.MACHINE, MachineOperation.SET_VMSA, (bytes(8), page), (Pointer(0, 0, 1),))


def host_read(gpa: int, size: int, view: View = View.HYPERVISOR) -> Call:
    return _access(MachineOperation.HOST_READ, gpa, bytes(size), view)


def host_write(gpa: int, data: bytes, view: View = View.HYPERVISOR) -> Call:
    return _access(MachineOperation.HOST_WRITE, gpa, data, view)


def _access(operation: MachineOperation, gpa: int, data: bytes, view: View) -> Call:
    argument = bytes(HostAccess(gpa=gpa, size=len(data), view=view))
    return Call(operation.name, File.MACHINE, operation, (argument, data), (Pointer(0, 8, 1),))


def pass_guest_requests(count: int) -> Call:
    return Call("PASS_GUEST_REQUESTS", File.MACHINE, MachineOperation.PASS_GUEST_REQUESTS, scalar=count)


def guest_request(request_gpa: int, response_gpa: int) -> Call:
    buffer = bytes(GuestRequestBuffer(req_paddr=request_gpa, res_paddr=response_gpa))
    number = MachineOperation.FIRMWARE + FirmwareCommand.SNP_GUEST_REQUEST
    return Call("SNP_GUEST_REQUEST", File.MACHINE, number, (buffer,))


def run(room: int = 0, answer: bytes = b"") -> Call:
    """KVM_RUN. `room` for the data of a bare guest's port exit; `answer` is what an input before reads."""
    if len(answer) > room:
        raise ValueError("an answer longer than its room")
    return Call("KVM_RUN", File.VCPU, k.RUN, (bytes(RUN_STATE_SIZE) + answer.ljust(room, b"\0"),))


def answer_mmio(data: bytes, room: int) -> Call:
    """KVM_RUN after a load outside memory, which gives `data`, at most 8 bytes."""
    state = RunState(mmio_data=(u8 * 8)(*data))
    return Call("KVM_RUN", File.VCPU, k.RUN, (bytes(state) + bytes(room),))


def get_regs() -> Call:
    """The general registers, of a guest whose state is not protected."""
    return Call("KVM_GET_REGS", File.VCPU, k.GET_REGS, (bytes(ctypes.sizeof(k.Regs)),))


def set_regs(regs: k.Regs) -> Call:
    return Call("KVM_SET_REGS", File.VCPU, k.SET_REGS, (bytes(regs),))


def get_sregs() -> Call:
    """Segments, descriptor tables and control registers."""
    return Call("KVM_GET_SREGS", File.VCPU, k.GET_SREGS, (bytes(ctypes.sizeof(k.Sregs)),))


def set_sregs(sregs: k.Sregs) -> Call:
    return Call("KVM_SET_SREGS", File.VCPU, k.SET_SREGS, (bytes(sregs),))


def get_xsave() -> Call:
    """x87 and vector registers, 4096 bytes as XSAVE lays them out."""
    return Call("KVM_GET_XSAVE", File.VCPU, k.GET_XSAVE, (bytes(k.XSAVE_SIZE),))


def set_xsave(area: bytes) -> Call:
    return Call("KVM_SET_XSAVE", File.VCPU, k.SET_XSAVE, (area,))
