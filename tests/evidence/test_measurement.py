"""The launch digest: published vectors, and another implementation as witness."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevsnpmeasure.gctx import GCTX  # type: ignore[import-untyped]  # no types; a witness in tests only
from sevsnpmeasure.sev_hashes import SevHashes  # type: ignore[import-untyped]  # as above
from sevsnpmeasure.sev_mode import SevMode  # type: ignore[import-untyped]  # as above
from sevsnpmeasure.vmm_types import VMMType  # type: ignore[import-untyped]  # as above
from sevsnpmeasure.vmsa import VMSA  # type: ignore[import-untyped]  # as above

from tests.evidence.soak import SETTINGS
from tests.evidence.vectors import FOLDER, needs_vectors
from wasmkeep.evidence.snp.measurement import PAGE_SIZE, VMSA_GPA, LaunchDigest, PageType, launch_digest

_VECTORS = FOLDER / "snp/launch-digest"


@cache
def vectors() -> dict[str, dict[str, Any]]:  # Any: JSON
    path = _VECTORS / "vectors.json"
    if not path.exists():
        return {}
    entries = json.loads(path.read_text())["vectors"]
    return {entry["id"]: entry for entry in entries if entry["inputs"]["mode"] == "SEV-SNP"}


def _section(digest: LaunchDigest, kind: str, gpa: int, size: int, hashes: bytes | None, vmm: str) -> None:
    """One section of the firmware's metadata, as QEMU and the others launch it (SEV.md C.2)."""
    if kind == "SNP_KERNEL_HASHES" and hashes is not None:
        digest.update(PageType.NORMAL, gpa, hashes)
        return
    types = {
        "SNP_SEC_MEM": PageType.UNMEASURED if vmm == "gce" else PageType.ZERO,
        "SNP_SECRETS": PageType.SECRETS,
        "CPUID": PageType.CPUID,
        "SVSM_CAA": PageType.ZERO,
        "SNP_KERNEL_HASHES": PageType.ZERO,
    }
    digest.update(types[kind], gpa, size=size)


@needs_vectors
@pytest.mark.parametrize("identifier", vectors())
def test_published_digests(identifier: str, tmp_path: Any) -> None:  # Any: pathlib only for the witness
    entry = vectors()[identifier]
    inputs = entry["inputs"]
    vmm = inputs["vmm"]
    facts = json.loads((_VECTORS / "firmware-facts.json").read_text())[inputs["firmware"]]
    hashes = None
    if inputs["kernel"] is not None:
        empty = tmp_path / "empty"
        empty.write_bytes(b"")
        table = SevHashes(str(empty), str(empty), inputs["cmdline"])
        hashes = bytes(table.construct_page(int(facts["kernel_hashes_gpa"], 16) % PAGE_SIZE))
    digest = LaunchDigest(bytes.fromhex(facts["snp_content_digest"]))
    sections = facts["snp_sections"]
    if vmm == "ec2":  # Amazon's launches the CPUID page last
        sections = sorted(sections, key=lambda section: section["type"] == "CPUID")
    for section in sections:
        _section(digest, section["type"], int(section["gpa"], 16), int(section["size"], 16), hashes, vmm)
    signature = int(inputs["cpuid_signature"] or "0", 16)
    features = int(inputs["guest_features"], 16)
    state = VMSA(SevMode.SEV_SNP, int(facts["ap_reset_eip"], 16), signature, features, VMMType[_VMM[vmm]])
    for page in state.pages(inputs["vcpus"]):
        digest.update(PageType.VMSA, 0, bytes(page))
    assert digest.finish().hex() == entry["expected"]["launch_digest"]


_VMM = {"qemu": "QEMU", "ec2": "ec2", "gce": "gce"}

PAGES = st.lists(
    st.tuples(
        st.sampled_from(
            [PageType.NORMAL, PageType.ZERO, PageType.UNMEASURED, PageType.SECRETS, PageType.CPUID]
        ),
        st.integers(0, (1 << 39) - 1).map(lambda page: page * PAGE_SIZE),
        st.integers(1, 3),
        st.binary(max_size=32),
    ),
    max_size=6,
)


@SETTINGS
@given(PAGES, st.lists(st.binary(max_size=64), max_size=3))
def test_another_implementation_agrees(
    pages: list[tuple[PageType, int, int, bytes]], vmsas: list[bytes]
) -> None:
    witness = GCTX()
    regions: list[tuple[PageType, int, bytes | None, int]] = []
    for page_type, gpa, count, seed in pages:
        count = count if page_type not in (PageType.SECRETS, PageType.CPUID) else 1
        size = count * PAGE_SIZE
        data = seed.ljust(size, b"\x5a") if page_type is PageType.NORMAL else None
        regions.append((page_type, gpa, data, size))
        if page_type is PageType.NORMAL:
            witness.update_normal_pages(gpa, data)
        elif page_type is PageType.ZERO:
            witness.update_zero_pages(gpa, size)
        elif page_type is PageType.UNMEASURED:
            witness.update_unmeasured_pages(gpa, size)
        elif page_type is PageType.SECRETS:
            witness.update_secrets_page(gpa)
        else:
            witness.update_cpuid_page(gpa)
    states = [vmsa.ljust(PAGE_SIZE, b"\0") for vmsa in vmsas]
    for state in states:
        witness.update_vmsa_page(state)
    assert launch_digest(regions, states) == witness.ld()


def test_an_empty_launch_is_48_zeros() -> None:
    assert launch_digest((), ()) == bytes(48)


def test_everything_about_a_page_counts() -> None:
    """Contents, type, address, permissions, IMI and order each change the digest."""

    def measure(*steps: tuple[PageType, int, bytes], **options: Any) -> bytes:  # Any: options by name
        digest = LaunchDigest()
        for page_type, gpa, data in steps:
            digest.update(page_type, gpa, data, **options)
        return digest.finish()

    page, other = bytes(PAGE_SIZE), b"\1".ljust(PAGE_SIZE, b"\0")
    base = measure((PageType.NORMAL, 0, page), (PageType.NORMAL, PAGE_SIZE, other))
    different = [
        measure((PageType.NORMAL, 0, other), (PageType.NORMAL, PAGE_SIZE, other)),
        measure((PageType.ZERO, 0, page), (PageType.NORMAL, PAGE_SIZE, other)),
        measure((PageType.NORMAL, 0x2000, page), (PageType.NORMAL, PAGE_SIZE, other)),
        measure((PageType.NORMAL, PAGE_SIZE, other), (PageType.NORMAL, 0, page)),
        measure((PageType.NORMAL, 0, page), (PageType.NORMAL, PAGE_SIZE, other), imi=True),
        measure((PageType.NORMAL, 0, page), (PageType.NORMAL, PAGE_SIZE, other), vmpl_permissions=(1, 0, 0)),
        measure((PageType.NORMAL, 0, page), (PageType.NORMAL, PAGE_SIZE, other), vmpl_permissions=(0, 0, 1)),
    ]
    assert len({base, *different}) == len(different) + 1


def test_one_region_is_its_pages() -> None:
    data = bytes(range(256)) * 48
    whole, parts = LaunchDigest(), LaunchDigest()
    whole.update(PageType.NORMAL, 0x1000, memoryview(data))
    for offset in range(0, len(data), PAGE_SIZE):
        parts.update(PageType.NORMAL, 0x1000 + offset, data[offset : offset + PAGE_SIZE])
    assert whole.finish() == parts.finish()


def test_contents_of_zero_pages_do_not_count() -> None:
    given, sized = LaunchDigest(), LaunchDigest()
    given.update(PageType.ZERO, 0, b"\1" * PAGE_SIZE)
    sized.update(PageType.ZERO, 0, size=PAGE_SIZE)
    assert given.finish() == sized.finish()


def test_a_vmsa_is_where_the_specification_puts_it() -> None:
    here, there = LaunchDigest(), LaunchDigest()
    here.update(PageType.VMSA, VMSA_GPA, bytes(PAGE_SIZE))
    there.update(PageType.VMSA, 0, bytes(PAGE_SIZE))
    assert here.finish() == there.finish()


@pytest.mark.parametrize(
    ("page_type", "gpa", "data", "size"),
    [
        (PageType.NORMAL, 0, None, PAGE_SIZE),
        (PageType.NORMAL, 0, b"", None),
        (PageType.NORMAL, 0, bytes(100), None),
        (PageType.NORMAL, 1, bytes(PAGE_SIZE), None),
        (PageType.NORMAL, 0, bytes(PAGE_SIZE), 2 * PAGE_SIZE),
        (PageType.ZERO, 0, None, None),
        (PageType.ZERO, 0, None, 0),
        (PageType.ZERO, -PAGE_SIZE, None, PAGE_SIZE),
        (PageType.ZERO, 1 << 52, None, PAGE_SIZE),
        (PageType.VMSA, 0, bytes(2 * PAGE_SIZE), None),
    ],
)
def test_impossible_regions(page_type: PageType, gpa: int, data: bytes | None, size: int | None) -> None:
    with pytest.raises(ValueError, match=r"page|region|VMSA|disagree"):
        LaunchDigest().update(page_type, gpa, data, size)


def test_digest_sizes() -> None:
    with pytest.raises(ValueError, match="48"):
        LaunchDigest(bytes(32))
    with pytest.raises(ValueError, match="48"):
        LaunchDigest().extend(PageType.NORMAL, 0, bytes(32))
