"""KVM's launch commands for SEV and SEV-ES guests, each turned into the firmware's (Linux
``arch/x86/kvm/svm/sev.c``; SEV API 0.24, 6.2 to 6.7).

What a user hands over is copied into kernel memory; guest memory is given by physical address as it lies.
"""

from __future__ import annotations

from wasmkeep.hardware.kvm_sev import KvmSevBlob, KvmSevGuestStatus, KvmSevLaunchStart, KvmSevPacket
from wasmkeep.hardware.psp_sev import MAX_BLOB, FirmwareCommand
from wasmkeep.hardware.sev_commands import (
    SevDataGuestStatus,
    SevDataLaunchStart,
    SevDataPacket,
    SevDataRegion,
)
from wasmkeep.simulator.sev_context import SevContext, answered
from wasmkeep.simulator.user_memory import UserMemory
from wasmkeep.simulator.virtual_machine import invalid

_RUN = 1 << 20  # bytes: nobody waits long for the firmware because somebody launches much


def launch_start(vm: SevContext, data: int, memory: UserMemory) -> None:
    """LAUNCH_START, then ACTIVATE in the VM's slot."""
    request = memory.structure(KvmSevLaunchStart, data)
    own = vm.beside()
    start = SevDataLaunchStart(handle=request.handle, policy=request.policy)
    if request.dh_uaddr:
        start.dh_cert_address = own.place(memory.blob(request.dh_uaddr, request.dh_len))
        start.dh_cert_len = request.dh_len
    if request.session_uaddr:
        start.session_address = own.place(memory.blob(request.session_uaddr, request.session_len))
        start.session_len = request.session_len
    started = vm.issue(FirmwareCommand.LAUNCH_START, start, own)
    vm.bind(started.handle)
    request.handle = started.handle
    memory.write(data, bytes(request))


def launch_update_data(vm: SevContext, data: int, memory: UserMemory) -> None:
    """A command for each run of contiguous pages, as long as one may be: the digest is of the contents."""
    request = memory.structure(KvmSevBlob, data)
    address = vm.pinned(request.uaddr, request.len)
    for at in range(0, request.len, _RUN):
        region = SevDataRegion(handle=vm.handle, address=address + at, len=min(_RUN, request.len - at))
        vm.issue(FirmwareCommand.LAUNCH_UPDATE_DATA, region)


def launch_update_vmsa(vm: SevContext, vmsa: bytes, address: int | None) -> None:
    """`vmsa` at `address`, or in kernel memory where the CPU has none of its own."""
    own = vm.beside()
    if address is None:
        address = own.place(vmsa)
    else:
        own.write(address, vmsa)
    region = SevDataRegion(handle=vm.handle, address=address, len=len(vmsa))
    vm.issue(FirmwareCommand.LAUNCH_UPDATE_VMSA, region, own)


def launch_measure(vm: SevContext, data: int, memory: UserMemory) -> None:
    """A query where the length is 0."""
    request = memory.structure(KvmSevBlob, data)
    if request.len > MAX_BLOB:
        raise invalid("larger than any blob")
    own = vm.beside()
    room = own.room(request.len) if request.uaddr else 0
    measure = SevDataRegion(handle=vm.handle, address=room, len=request.len if room else 0)
    status, after = vm.kernel.command(FirmwareCommand.LAUNCH_MEASURE, measure, own)
    if room:
        answered(status)
        memory.write(request.uaddr, own.taken(room))
    request.len = after.len
    memory.write(data, bytes(request))
    answered(status)


def launch_secret(vm: SevContext, data: int, memory: UserMemory) -> None:
    request = memory.structure(KvmSevPacket, data)
    own = vm.beside()
    packet = SevDataPacket(
        handle=vm.handle,
        hdr_len=request.hdr_len,
        guest_address=vm.pinned(request.guest_uaddr, request.guest_len),
        guest_len=request.guest_len,
        trans_len=request.trans_len,
    )
    packet.trans_address = own.place(memory.blob(request.trans_uaddr, request.guest_len))
    packet.hdr_address = own.place(memory.blob(request.hdr_uaddr, request.hdr_len))
    vm.issue(FirmwareCommand.LAUNCH_SECRET, packet, own)


def launch_finish(vm: SevContext, _data: int, _memory: UserMemory) -> None:
    vm.by_handle(FirmwareCommand.LAUNCH_FINISH)
    vm.runnable = True


def guest_status(vm: SevContext, data: int, memory: UserMemory) -> None:
    found = vm.issue(FirmwareCommand.GUEST_STATUS, SevDataGuestStatus(handle=vm.handle))
    memory.write(data, bytes(KvmSevGuestStatus(found.handle, found.policy, found.state)))
