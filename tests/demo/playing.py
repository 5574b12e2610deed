"""A client and a host that talk over a pair of sockets, in one process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wasmkeep.demo.channel import Channel
from wasmkeep.demo.client import Client, Trust
from wasmkeep.demo.conversation import Step, play
from wasmkeep.demo.messages import TO_CLIENT, TO_SERVER
from wasmkeep.demo.server import Host, attend
from wasmkeep.errors import WasmkeepError


@asynccontextmanager
async def channels() -> AsyncIterator[tuple[Channel, Channel]]:
    """The client's and the server's."""
    ends = socket.socketpair()
    client = Channel(*await asyncio.open_connection(sock=ends[0]), TO_CLIENT)
    server = Channel(*await asyncio.open_connection(sock=ends[1]), TO_SERVER)
    try:
        yield client, server
    finally:
        await client.close()
        await server.close()


async def rounds(host: Host, trust: Trust, count: int = 1) -> list[list[Step]]:
    """The steps of that many rounds. Raises what the client raises."""
    told: list[list[Step]] = []
    async with channels() as (mine, theirs):
        serving = asyncio.create_task(attend(host, theirs))
        try:
            for _ in range(count):
                told.append([])
                await play(Client(trust), mine, told[-1].append)
        finally:
            await mine.close()
            (ended,) = await asyncio.gather(serving, return_exceptions=True)
    if isinstance(ended, BaseException) and not isinstance(ended, WasmkeepError):
        raise ended
    return told
