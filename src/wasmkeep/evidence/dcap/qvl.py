"""Signatures, chains and collateral, checked by dcap-qvl: the only module that loads it, when first needed.

It answers with claims, or with the first thing it refuses, as text.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from wasmkeep.evidence.dcap.evidence import Collateral

__all__ = ["Opinion", "ask", "read"]

_PREFIX: Final = "Verification failed: "


@dataclass(frozen=True, slots=True)
class Opinion:
    """``refused`` is empty where it accepted, and then ``claims`` are its JSON."""

    refused: str
    claims: dict[str, Any]


def ask(quote: bytes, collateral: Collateral, moment: datetime, root: bytes | None) -> Opinion:
    """Verify at a moment, under Intel's root, or under the DER certificate ``root``."""
    import dcap_qvl  # type: ignore[import-untyped]

    seconds = int(moment.timestamp())
    try:
        material = dcap_qvl.QuoteCollateralV3(
            collateral.pck_crl_issuer_chain,
            collateral.root_ca_crl,
            collateral.pck_crl,
            collateral.tcb_info_issuer_chain,
            collateral.tcb_info,
            collateral.tcb_info_signature,
            collateral.qe_identity_issuer_chain,
            collateral.qe_identity,
            collateral.qe_identity_signature,
        )
        claims = dcap_qvl.QuoteVerifier(root).verify_with_policy(
            quote, material, seconds, dcap_qvl.QuotePolicy.claims_only(seconds)
        )
    except ValueError as error:
        return Opinion(" ".join(str(error).removeprefix(_PREFIX).split())[:200] or "refused", {})
    return Opinion("", json.loads(claims.to_json()))


def read(quote: bytes, wanted: Mapping[str, Collection[str]]) -> dict[str, object] | None:
    """Its own reading of a quote: the fields ``wanted`` by part (``header``, ``report``, ``pck``), as
    ``part.field``; None where it cannot read the quote."""
    import dcap_qvl

    try:
        parsed = dcap_qvl.parse_quote(quote)
    except ValueError:
        return None
    parts = {"header": parsed.header, "report": parsed.report, "pck": parsed.pck_extension()}
    return {
        f"{part}.{name}": getattr(parts[part], name, None) for part, names in wanted.items() for name in names
    }
