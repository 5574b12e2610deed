"""What the machine costs a keep's start, step by step: ``python -m tests.simulator.measure [kvm|process]
[RUNS]``.

Launch of the real keep, its first run, its report, its offer, its end, as the host sees them; beside them
what nothing can be faster than here: a bare virtual machine made and destroyed, and one P-384 signature.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.machines import machine
from wasmkeep import image as images
from wasmkeep.hardware.kvm import Kvm
from wasmkeep.hardware.memory import Memory
from wasmkeep.hardware.simulated import Platform

MEMORY = 64 << 20
_TENANT = (
    0.01  # seconds between keeps: a tenant verifies, compiles, talks; the machine readies the next shell
)
Times = dict[str, list[float]]


def bare_machine(kvm: Kvm) -> None:
    memory = Memory(MEMORY)
    virtual = kvm.create_vm()
    virtual.add_memory(0, 0, memory)
    virtual.create_vcpu().close()
    virtual.close()
    memory.close()


def timed(times: Times, name: str, action: Callable[[], object]) -> None:
    begin = time.perf_counter()
    action()
    times[name].append(time.perf_counter() - begin)


def floor(times: Times, runs: int) -> None:
    key = ec.derive_private_key(1, ec.SECP384R1())
    kvm = Kvm()
    for _ in range(runs):
        timed(times, "floor: bare machine", lambda: bare_machine(kvm))
        timed(times, "floor: signature", lambda: key.sign(bytes(672), ec.ECDSA(hashes.SHA384())))
    kvm.close()


async def starts(times: Times, cpu: str, runs: int) -> None:
    kind = images.MachineKind.SNP if cpu == "kvm" else images.MachineKind.PROCESS
    elf = Path(images.__file__).with_name(f"{kind.value}.elf").read_bytes()  # recorded or just built
    image = images.launch(kind, elf, MEMORY)
    async with await Platform.open(machine(cpu=cpu).socket) as platform:
        for _ in range(runs):
            await asyncio.sleep(_TENANT)
            marks = [("", time.perf_counter())]

            def mark(name: str, marks: list[tuple[str, float]] = marks) -> None:
                marks.append((name, time.perf_counter()))

            guest = await platform.launch(
                MEMORY, image.regions, image.vmsa, policy=0x3_0000, host_data=bytes(32)
            )
            mark("launch")
            struct.pack_into("<32s32sQ", guest.window, 0x1200, os.urandom(32), bytes(32), 2_500_000)
            await guest.run()
            mark("run to the report request")
            info = struct.unpack_from("<QQ", guest.window, 0x398)
            struct.pack_into("<Q", guest.window, 0x3A0, await guest.guest_request(*info))
            mark("report")
            await guest.run()
            mark("run to the offer")
            await guest.close()
            mark("close")
            for (_, begin), (name, end) in pairwise(marks):
                times[name].append(end - begin)
            times["all but close"].append(marks[-2][1] - marks[0][1])


def main(cpu: str = "kvm", runs: str = "200") -> None:
    times: Times = defaultdict(list)
    if cpu == "kvm":
        floor(times, int(runs))
    asyncio.run(starts(times, cpu, int(runs)))
    print(f"{'microseconds':28} {'p10':>8} {'p50':>8} {'p95':>8}")
    for name, values in times.items():
        values.sort()
        points = (values[len(values) * share // 100] * 1e6 for share in (10, 50, 95))
        print(f"{name:28} " + " ".join(f"{point:8.0f}" for point in points))


if __name__ == "__main__":
    main(*sys.argv[1:])
