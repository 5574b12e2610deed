"""Collateral, parsed: nothing here is trusted yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from wasmkeep.evidence.dcap.certificates import Certificate, RevocationList, load_chain, load_list
from wasmkeep.evidence.dcap.evidence import Collateral
from wasmkeep.evidence.dcap.qe_identity import QeIdentity, read_qe_identity
from wasmkeep.evidence.dcap.tcb_info import TcbInfo, read_tcb_info

__all__ = ["ParsedCollateral", "parse"]


@dataclass(frozen=True, slots=True)
class ParsedCollateral:
    """Chains are from the signer up: ``tcb_chain`` and ``qe_chain`` of Intel's TCB signing key, and
    ``list_chain`` of the authority that issued PCK certificates and ``pck_list``. ``root_list`` is the
    root's."""

    tcb_info: TcbInfo
    qe_identity: QeIdentity
    tcb_chain: tuple[Certificate, ...]
    qe_chain: tuple[Certificate, ...]
    list_chain: tuple[Certificate, ...]
    root_list: RevocationList
    pck_list: RevocationList

    @property
    def evaluation(self) -> int:
        """The lower of both tcbEvaluationDataNumbers."""
        return min(self.tcb_info.evaluation, self.qe_identity.evaluation)

    @property
    def dated(self) -> tuple[tuple[str, datetime, datetime], ...]:
        """Name, issue and end of everything in it that has dates of its own."""
        info, identity, lists = self.tcb_info, self.qe_identity, (self.pck_list, self.root_list)
        return (
            ("TCB info", info.issued, info.next_update),
            ("QE identity", identity.issued, identity.next_update),
            *((crl.label, crl.issued, crl.next_update) for crl in lists),
        )


def parse(collateral: Collateral, known: tuple[Certificate, ...] = ()) -> ParsedCollateral:
    """Read every part; ``known`` certificates are not read again. Raises `Rejected`:
    ``dcap.collateral.tcb-info``, ``dcap.collateral.qe-identity``, ``dcap.certificates.malformed``,
    ``dcap.certificates.count``, ``dcap.crl.malformed``."""
    root = "Intel root"
    tcb_chain = load_chain(collateral.tcb_info_issuer_chain, "TCB signing key", root, known=known)
    known = (*known, *tcb_chain)
    return ParsedCollateral(
        tcb_info=read_tcb_info(collateral.tcb_info),
        qe_identity=read_qe_identity(collateral.qe_identity),
        tcb_chain=tcb_chain,
        qe_chain=load_chain(collateral.qe_identity_issuer_chain, "TCB signing key", root, known=known),
        list_chain=load_chain(collateral.pck_crl_issuer_chain, "PCK authority", root, known=known),
        root_list=load_list(collateral.root_ca_crl, "root's revocation list"),
        pck_list=load_list(collateral.pck_crl, "PCK revocation list"),
    )
