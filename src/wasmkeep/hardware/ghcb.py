"""The GHCB page: where a guest's request to its hypervisor stands ("SEV-ES Guest-Hypervisor Communication
Block Standardization", AMD 56421, section 2.6, table 3). Offsets in bytes; all fields are little-endian.

Bit n of the valid bitmap stands for the quadword at 8n.
"""

from __future__ import annotations

from typing import Final

RAX: Final = 0x1F8
SW_EXITCODE: Final = 0x390
SW_EXITINFO1: Final = 0x398
SW_EXITINFO2: Final = 0x3A0
VALID_BITMAP: Final = 0x3F0
VALID_BITMAP_SIZE: Final = 16
PROTOCOL_VERSION: Final = 0xFFA  # u16
USAGE: Final = 0xFFC  # u32

EXIT_IOIO: Final = 0x7B
EXIT_GUEST_REQUEST: Final = 0x8000_0011  # EXITINFO1, 2: addresses of request and response page
