"""An SNP launch: an image and a tenant's request become a launched guest.

The machine performs the firmware's steps (SEV-SNP firmware ABI 56860, chapter 8): LAUNCH_START,
LAUNCH_UPDATE for each region in order, the VMSA, LAUNCH_FINISH. The tenant computes by itself which digest
this must lead to.
"""

from __future__ import annotations

from wasmkeep.host.machine import Platform, SnpGuest
from wasmkeep.host.tap import LaunchOrder

__all__ = ["DEFAULT_GUEST_POLICY", "launch"]

DEFAULT_GUEST_POLICY = 0x3_0000
"""SMT allowed (bit 16), reserved one (bit 17); no debug, no migration agent, any firmware ABI."""


async def launch(platform: Platform, order: LaunchOrder, guest_requests: int) -> SnpGuest:
    """Everything up to, and not including, the first run. Raises what the machine raises.

    The guest's first ``guest_requests`` to the secure processor go there without an exit.
    """
    return await platform.launch(
        order.memory,
        order.regions,
        order.vmsa,
        policy=order.policy,
        host_data=order.host_data,
        id_block=order.id_block,
        id_auth=order.id_auth,
        guest_requests=guest_requests,
    )
