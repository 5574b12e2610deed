"""Bare virtual machines: memory, a window, a vCPU that exits, loops and is interrupted."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.machines import HAS_KVM
from wasmkeep.errors import PlatformUnavailable
from wasmkeep.hardware import kvm as kvm_module
from wasmkeep.hardware import kvm_structures as k
from wasmkeep.hardware.kvm import Kvm, Vcpu, prepare_signals
from wasmkeep.hardware.memory import Memory, create_window

MEMORY = 4 << 20
CODE = 0x1000
IO, INTR = 2, 10

pytestmark = [
    pytest.mark.kvm,
    pytest.mark.skipif(not HAS_KVM, reason="/dev/kvm is not here or not permitted"),
]

# Real mode: mov al, 7; out 0x10, al; jmp $
PROGRAM = b"\xb0\x07\xe6\x10\xeb\xfe"


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = Memory(MEMORY)
    yield made
    made.close()


@pytest.fixture
def vcpu(memory: Memory) -> Iterator[Vcpu]:
    before = signal.getsignal(kvm_module.INTERRUPT_SIGNAL)
    prepare_signals()
    kvm = Kvm()
    machine = kvm.create_vm()
    machine.add_memory(0, 0, memory)
    made = machine.create_vcpu()
    memory.view[CODE : CODE + len(PROGRAM)] = PROGRAM
    sregs = made.get_sregs()
    sregs.cs.base, sregs.cs.selector = 0, 0
    made.set_sregs(sregs)
    made.set_regs(k.Regs(rip=CODE, rflags=2))
    yield made
    made.close()
    machine.close()
    kvm.close()
    signal.signal(kvm_module.INTERRUPT_SIGNAL, before)


def test_a_guest_leaves_by_its_port(vcpu: Vcpu) -> None:
    assert vcpu.run() == IO
    assert vcpu.exit_data(8) == b"\x01\x01\x10\x00\x01\x00\x00\x00"
    assert vcpu.get_regs().rax & 0xFF == 7


def test_a_looping_guest_is_interrupted_from_another_thread(vcpu: Vcpu) -> None:
    assert vcpu.run() == IO
    for _ in range(3):
        interrupter = threading.Timer(0.02, vcpu.interrupt)
        interrupter.start()
        assert vcpu.run() == INTR
        interrupter.join()


def test_an_interrupt_before_the_run_ends_that_run_and_no_other(vcpu: Vcpu) -> None:
    vcpu.interrupt()
    assert vcpu.run() == INTR
    assert vcpu.run() == IO


def test_a_closed_vcpu_is_neither_run_nor_interrupted(vcpu: Vcpu) -> None:
    vcpu.close()
    vcpu.interrupt()
    assert vcpu.run() == INTR


def test_a_register_that_kvm_refuses_is_an_error(vcpu: Vcpu) -> None:
    with pytest.raises(OSError, match="model-specific") as refused:
        vcpu.set_msrs([(0xC0000080, 1 << 63)])
    assert refused.value.errno == errno.EINVAL


def test_the_rate_of_the_clock_is_plausible(vcpu: Vcpu) -> None:
    assert 500_000 <= vcpu.tsc_khz() <= 10_000_000


def test_the_window_is_the_files_memory_and_nothing_else_is(memory: Memory) -> None:
    descriptor = create_window(8192)
    memory.share(0x2000, 8192, descriptor)
    memory.view[0x1FFF] = memory.view[0x2000] = memory.view[0x3FFF] = memory.view[0x4000] = 9
    assert os.pread(descriptor, 8193, 0) == b"\x09" + bytes(8190) + b"\x09"
    os.pwrite(descriptor, b"host", 16)
    assert bytes(memory.view[0x2010:0x2014]) == b"host"
    os.close(descriptor)


@pytest.mark.parametrize(("offset", "size"), [(1, 4096), (0, 4095), (MEMORY, 4096), (-4096, 4096)])
def test_a_window_outside_the_memory_is_our_own_mistake(memory: Memory, offset: int, size: int) -> None:
    descriptor = create_window(8192)
    with pytest.raises(ValueError, match="inside the memory"):
        memory.share(offset, size, descriptor)
    os.close(descriptor)


def test_populating_changes_nothing_and_stays_inside(memory: Memory) -> None:
    memory.view[0] = 5
    memory.populate(0, 1 << 20)
    assert bytes(memory.view[:2]) == b"\x05\x00"
    with pytest.raises(ValueError, match="outside"):
        memory.populate(MEMORY - 4096, 8192)


def test_memory_is_not_given_back_while_somebody_looks(memory: Memory) -> None:
    held = memory.view[:10]
    with pytest.raises(BufferError):
        memory.close()
    held.release()


def test_another_version_of_kvm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k, "API_VERSION", 13)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PlatformUnavailable) as refused:
        Kvm()
    assert refused.value.check == "platform.kvm.version"
    assert len(os.listdir("/proc/self/fd")) == before
