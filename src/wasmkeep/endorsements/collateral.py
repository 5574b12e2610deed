"""Everything that a quote is checked against, put together from a source of endorsements."""

from __future__ import annotations

import asyncio
from typing import Literal

from wasmkeep.endorsements.answers import split, split_statement
from wasmkeep.endorsements.intel import PckAuthority, PckCrl, QeIdentity, RootCaCrl, TcbInfo, Tee
from wasmkeep.endorsements.sources import Source
from wasmkeep.evidence.dcap.evidence import Collateral

__all__ = ["collateral"]


async def collateral(
    source: Source, tee: Literal["tdx", "sgx"], fmspc: bytes, ca: Literal["processor", "platform"]
) -> Collateral:
    """The collateral of quotes from platforms of this family.

    ``fmspc`` (6 bytes) and ``ca`` are of the PCK certificate in a quote that nobody has verified yet: they
    decide nothing but which documents are asked for. Raises what ``source`` raises, and ``InputError``
    (check ``endorsements.name``) for an FMSPC of another length.
    """
    kind = Tee(tee)
    levels, identity, revoked = TcbInfo(kind, fmspc), QeIdentity(kind), PckCrl(PckAuthority(ca))
    try:
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(source.fetch(each)) for each in (levels, identity, revoked)]
            root = group.create_task(source.fetch(RootCaCrl()))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    tcb, qe, pck = (split(each.result(), "an answer of Intel's") for each in answers)
    tcb_info = split_statement(tcb.body, levels.statement, levels.description)
    qe_identity = split_statement(qe.body, identity.statement, identity.description)
    return Collateral(
        pck_crl_issuer_chain=pck.chain,
        root_ca_crl=root.result(),
        pck_crl=pck.body,
        tcb_info_issuer_chain=tcb.chain,
        tcb_info=tcb_info.text,
        tcb_info_signature=tcb_info.signature,
        qe_identity_issuer_chain=qe.chain,
        qe_identity=qe_identity.text,
        qe_identity_signature=qe_identity.signature,
    )
