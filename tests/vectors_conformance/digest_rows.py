"""Rows of expected launch digests, SEV-SNP's and SEV's: recomputed where no firmware image is needed.

The pages of a vCPU's save area depend on the hypervisor and are another project's table, an input here; the
digest over them, and over every other page, is `wasmkeep.evidence`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from sevsnpmeasure.sev_mode import SevMode  # type: ignore[import-untyped]  # no types
from sevsnpmeasure.vmm_types import VMMType  # type: ignore[import-untyped]  # no types
from sevsnpmeasure.vmsa import VMSA  # type: ignore[import-untyped]  # no types

from tests.vectors_conformance.index import UnusableIndex, VectorRow
from tests.vectors_conformance.outcome import NotCheckable, Outcome
from wasmkeep.evidence.sev.measurement import kernel_hash_table
from wasmkeep.evidence.snp.measurement import PAGE_SIZE, LaunchDigest, PageType

__all__ = ["judge"]

Json = Mapping[str, Any]  # Any: JSON
_STATEMENTS = ("algorithm", "asserted_by", "recomputable_without_firmware_image")
_HYPERVISORS = {"qemu": "QEMU", "ec2": "ec2", "gce": "gce"}
_EMPTY_FILE = "empty file"


def judge(row: VectorRow, outcome: Outcome) -> None:
    """The digest; the other fields say of it where it comes from."""
    inputs = row.entries()
    expected = {name: value for name, value in row.expected.items() if name not in _STATEMENTS}
    outcome.compare(expected, {"launch_digest": _compute(row, inputs)})
    if row.expected.get("algorithm") not in (None, "sha384" if _is_snp(inputs) else "sha256"):
        outcome.problems.append(f"algorithm: {row.expected['algorithm']}")


def _is_snp(inputs: Json) -> bool:
    return bool(inputs["mode"] == "SEV-SNP")


def _compute(row: VectorRow, inputs: Json) -> Callable[[], object]:
    facts = row.file("firmware-facts.json")
    if facts is None:
        raise UnusableIndex("the row has no firmware-facts.json")
    firmware = json.loads(facts.data)[inputs["firmware"]]
    if _is_snp(inputs):
        return lambda: _snp_digest(inputs, firmware)
    return lambda: _sev_digest(inputs, firmware)


def _sev_digest(inputs: Json, firmware: Json) -> bytes:
    """SHA-256 of the firmware image alone is published; behind it nothing can be added without the image."""
    if inputs["mode"] == "SEV" and inputs["kernel"] is None:
        return bytes.fromhex(firmware["sha256"])
    raise NotCheckable(f"needs the firmware image {inputs['firmware']}, which is not among the vectors")


def _snp_digest(inputs: Json, firmware: Json) -> bytes:
    digest = LaunchDigest(bytes.fromhex(firmware["snp_content_digest"]))
    sections = firmware["snp_sections"]
    if inputs["vmm"] == "ec2":  # Amazon's launches the CPUID page last
        sections = sorted(sections, key=lambda section: section["type"] == "CPUID")
    for section in sections:
        gpa, size = int(section["gpa"], 16), int(section["size"], 16)
        if section["type"] == "SNP_KERNEL_HASHES" and inputs["kernel"] is not None:
            digest.update(PageType.NORMAL, gpa, _hashes_page(inputs, firmware))
        else:
            digest.update(_page_type(section["type"], inputs["vmm"]), gpa, size=size)
    for page in _save_areas(inputs, firmware):
        digest.update(PageType.VMSA, 0, page)
    return digest.finish()


def _page_type(section: str, vmm: str) -> PageType:
    """What a section of the firmware's metadata is launched as (QEMU's, AMD's and Google's loaders)."""
    types = {
        "SNP_SEC_MEM": PageType.UNMEASURED if vmm == "gce" else PageType.ZERO,
        "SNP_SECRETS": PageType.SECRETS,
        "CPUID": PageType.CPUID,
        "SVSM_CAA": PageType.ZERO,
        "SNP_KERNEL_HASHES": PageType.ZERO,
    }
    return types[section]


def _hashes_page(inputs: Json, firmware: Json) -> bytes:
    if {inputs["kernel"], inputs["initrd"]} - {_EMPTY_FILE, None}:
        raise NotCheckable("needs a kernel that is not among the vectors")
    table = kernel_hash_table(b"", b"", (inputs["cmdline"] or "").encode())
    page = bytearray(PAGE_SIZE)
    at = int(firmware["kernel_hashes_gpa"], 16) % PAGE_SIZE
    page[at : at + len(table)] = table
    return bytes(page)


def _save_areas(inputs: Json, firmware: Json) -> list[bytes]:
    signature = int(inputs["cpuid_signature"] or "0", 16)
    state = VMSA(
        SevMode.SEV_SNP,
        int(firmware["ap_reset_eip"], 16),
        signature,
        int(inputs["guest_features"], 16),
        VMMType[_HYPERVISORS[inputs["vmm"]]],
    )
    return [bytes(page) for page in state.pages(inputs["vcpus"])]
