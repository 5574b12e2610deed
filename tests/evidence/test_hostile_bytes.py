"""Any bytes in place of any part: refused by name, without a warning, from any thread."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.evidence.forge import Forge
from tests.evidence.soak import SETTINGS
from tests.evidence.test_verification import judge
from wasmkeep.evidence import Rejected, SnpEvidence
from wasmkeep.evidence.snp.certificates import load_authority, load_crl, load_endorsement

PROPERTY = settings(SETTINGS, suppress_health_check=[HealthCheck.function_scoped_fixture])
EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4
)


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Pieces replaced at positions taken modulo the length."""
    result = bytearray(data)
    for position, removed, inserted in edits:
        at = position % (len(result) + 1)
        result[at : at + removed] = inserted
    return bytes(result)


@PROPERTY
@given(st.sampled_from(["report", "vcek", "ask", "ark", "crl"]), EDITS)
def test_edited_parts(forge: Forge, part: str, edits: list[tuple[int, int, bytes]]) -> None:
    evidence = forge.evidence()
    ask, ark = evidence.chain
    parts = {"report": evidence.report, "vcek": evidence.vcek, "ask": ask, "ark": ark, "crl": evidence.crl}
    original = parts[part] or b""
    parts[part] = edited(original, edits)
    if parts[part] == original:
        return
    damaged = SnpEvidence(
        parts["report"] or b"", parts["vcek"] or b"", (parts["ask"] or b"", parts["ark"] or b""), parts["crl"]
    )
    with pytest.raises(Rejected) as caught:
        judge(damaged, forge.policy())
    assert caught.value.findings[0].message


@SETTINGS
@given(st.binary(max_size=600))
def test_noise(data: bytes) -> None:
    with pytest.raises(Rejected):
        load_authority(data, "ARK")
    with pytest.raises(Rejected):
        load_endorsement(data, "VCEK")
    with pytest.raises(Rejected):
        load_crl(data)


def test_a_name_that_the_library_warns_of_is_a_refusal(forge: Forge) -> None:
    """A country of another length than two letters: the library warns when the name is read."""
    country = b"\x55\x04\x06\x13\x02US"
    altered = forge.cached("vcek").replace(country, b"\x55\x04\x06\x13\x02U\x00")
    longer = forge.cached("vcek").replace(country, b"\x55\x04\x0a\x13\x02US", 1)
    wrong = longer.replace(b"\x55\x04\x07", b"\x55\x04\x06", 1)
    for der in (altered, wrong):
        assert der != forge.cached("vcek")
        with pytest.raises(Rejected):
            judge(forge.evidence(vcek=der), forge.policy())


def test_reading_certificates_leaves_warnings_as_they_were(forge: Forge) -> None:
    before = list(warnings.filters)
    with pytest.raises(Rejected):
        load_endorsement(b"", "VCEK")
    load_endorsement(forge.cached("vcek"), "VCEK")
    assert warnings.filters == before


def test_verifying_in_threads(forge: Forge) -> None:
    """Serial 0 warns nobody, in whatever thread it is read (warnings are errors here)."""
    evidence, policy = forge.evidence(), forge.policy()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: judge(evidence, policy), range(40)))
    assert all(result == results[0] for result in results)
