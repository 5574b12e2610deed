"""What a launch of the keep looks like and must measure, with images built here byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import sha256
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sevsnpmeasure.gctx import GCTX  # type: ignore[import-untyped]  # a witness in tests only
from sevsnpmeasure.vmsa import SevEsSaveArea  # type: ignore[import-untyped]  # as above

from wasmkeep.errors import ConfigurationError, InputError, WasmkeepError
from wasmkeep.evidence.snp.measurement import PAGE_SIZE, PageType
from wasmkeep.image import (
    OWN_NAME,
    Launch,
    MachineKind,
    Region,
    expected_launch_digest,
    launch,
    read_image,
    reference,
    reference_values,
    resolve,
)
from wasmkeep.image.elf import load_segments
from wasmkeep.image.pages import (
    CONFIGURATION_GPA,
    IMAGE_GPA,
    MEMORY_GRANULE,
    MIN_MEMORY,
    SECRETS_GPA,
    SLOT_GPA,
)

MEMORY = 64 << 20
HEADER = struct.pack(
    "<8s6Q4H", b"WKIMAGE1", 0x11_0010, 0x9F_FFC0, 0x10_4000, 0x10_0040, 0x10_0070, 0x10_0270, 39, 511, 107, 0
)
Segments = list[tuple[int, bytes, int]]
SEGMENTS: Segments = [
    (0x10_0000, HEADER + b"tables", 0x1000),
    (0x11_0000, b"\xf4" * 5000, 5000),
    (0x1D_0000, b"data", 0x3000),
    (0x30_0000, b"", 0x2345),
]


def elf(segments: Segments | None = None, **header: int) -> bytes:
    """A static x86-64 executable; ``header`` replaces single fields of headers."""
    parts = SEGMENTS if segments is None else segments
    fields = {"type": 2, "machine": 62, "entry_size": 56, "count": len(parts), "offset": 64} | header
    offset = 64 + 56 * len(parts)
    headers, body = b"", b""
    for address, data, size in parts:
        at = header.get("file_offset", offset + len(body))
        physical = address + header.get("skew", 0)
        headers += struct.pack("<IIQQQQQQ", 1, 5, at, address, physical, len(data), size, 4096)
        body += data
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(ident, fields["type"], fields["machine"], 1, 0x11_0010, fields["offset"], 0, 0),
        *(64, fields["entry_size"], fields["count"], 0, 0, 0),
    )
    return head + headers + body


def test_a_guests_regions_in_order() -> None:
    image = elf()
    described = launch(MachineKind.SNP, image, MEMORY)
    assert (described.kind, described.sha256) == (MachineKind.SNP, sha256(image).digest())
    page = [(region.gpa, region.size, region.page_type) for region in described.regions]
    assert page == [
        (0x10_0000, 0x1000, PageType.NORMAL),
        (0x11_0000, 0x2000, PageType.NORMAL),
        (0x1D_0000, 0x1000, PageType.NORMAL),
        (0x1D_1000, 0x2000, PageType.ZERO),
        (0x30_0000, 0x3000, PageType.ZERO),
        (CONFIGURATION_GPA, 0x1000, PageType.NORMAL),
        (SECRETS_GPA, 0x1000, PageType.SECRETS),
    ]
    assert described.regions[1].data == (b"\xf4" * 5000).ljust(0x2000, b"\0")
    assert all(len(region.data) in (0, region.size) for region in described.regions)
    assert all(bool(region.data) == (region.page_type is PageType.NORMAL) for region in described.regions)


def test_the_configuration_page_holds_the_memory_size() -> None:
    for kind in MachineKind:
        regions = {region.gpa: region for region in launch(kind, elf(), MEMORY).regions}
        page = regions[CONFIGURATION_GPA].data
        assert page == (b"WKCONF01" + struct.pack("<QI", MEMORY, 1)).ljust(PAGE_SIZE, b"\0")


def test_a_process_measures_its_file() -> None:
    image = elf()
    described = launch(MachineKind.PROCESS, image, MEMORY)
    assert [region.gpa for region in described.regions] == [IMAGE_GPA, CONFIGURATION_GPA, SECRETS_GPA]
    assert described.regions[0].data == image.ljust(described.regions[0].size, b"\0")
    assert described.vmsa == bytes(0x3B0) + b"\1" + bytes(PAGE_SIZE - 0x3B1)


def test_another_implementation_measures_the_same() -> None:
    for kind in (MachineKind.SNP, MachineKind.PROCESS):
        described = launch(kind, elf(), MEMORY)
        witness = GCTX()
        for region in described.regions:
            if region.page_type is PageType.NORMAL:
                witness.update_normal_pages(region.gpa, region.data)
            elif region.page_type is PageType.ZERO:
                witness.update_zero_pages(region.gpa, region.size)
            else:
                witness.update_secrets_page(region.gpa)
        witness.update_vmsa_page(described.vmsa)
        assert expected_launch_digest(described) == witness.ld()


PRE_ATTESTED = tuple(kind for kind in MachineKind if kind.pre_attested)


@pytest.mark.parametrize("kind", PRE_ATTESTED)
def test_a_pre_attested_launch_is_all_there_in_ascending_order(kind: MachineKind) -> None:
    image = elf()
    described = launch(kind, image, MEMORY)
    slot, configuration, *rest = described.regions
    assert (slot.gpa, slot.data) == (SLOT_GPA, bytes(PAGE_SIZE))
    assert configuration.gpa == CONFIGURATION_GPA == SLOT_GPA + PAGE_SIZE
    assert all(len(region.data) == region.size for region in described.regions)
    assert {region.page_type for region in described.regions} == {PageType.NORMAL}
    assert [one.gpa for one in described.regions] == sorted(one.gpa for one in described.regions)
    if kind.process:
        assert [(one.gpa, one.data) for one in rest] == [(IMAGE_GPA, image.ljust(rest[0].size, b"\0"))]
    else:
        snp = launch(MachineKind.SNP, image, MEMORY).regions[:-2]
        assert [(one.gpa, one.size) for one in rest] == [(one.gpa, one.size) for one in snp]
        assert [one.data for one in rest] == [one.data or bytes(one.size) for one in snp]


@pytest.mark.parametrize("kind", PRE_ATTESTED)
def test_sev_measures_contents_and_sev_es_registers_too(kind: MachineKind) -> None:
    described = launch(kind, elf(), MEMORY)
    contents = b"".join(region.data for region in described.regions)
    registers = described.vmsa if kind.tee == "sev-es" else b""
    assert expected_launch_digest(described) == sha256(contents + registers).digest()


def test_kinds_by_tee_and_machine() -> None:
    for kind in MachineKind:
        assert MachineKind.of(kind.tee, process=kind.process) is kind
        assert kind.value == ("process" + f"-{kind.tee}".replace("-snp", "") if kind.process else kind.tee)
    with pytest.raises(ConfigurationError) as caught:
        MachineKind.of("tdx", process=False)
    assert caught.value.check == "image.tee"


@pytest.mark.parametrize("kind", [MachineKind.SEV, MachineKind.SEV_ES])
def test_the_initial_registers_of_sev(kind: MachineKind) -> None:
    """As SNP's, without its feature bit, and with CR4.MCE, which KVM sets for every such guest."""
    page = bytearray(launch(MachineKind.SNP, elf(), MEMORY).vmsa)
    struct.pack_into("<Q", page, 0x3B0, 0)
    struct.pack_into("<Q", page, 0x148, 0x40660)
    assert launch(kind, elf(), MEMORY).vmsa == page


@pytest.mark.parametrize("kind", [MachineKind.PROCESS_SEV, MachineKind.PROCESS_SEV_ES])
def test_a_process_of_sev_has_no_registers(kind: MachineKind) -> None:
    assert launch(kind, elf(), MEMORY).vmsa == bytes(PAGE_SIZE)


@pytest.mark.parametrize("kind", PRE_ATTESTED)
def test_everything_of_a_pre_attested_launch_is_measured(kind: MachineKind) -> None:
    """But, with SEV's own measurement, no address, and with plain SEV no register: that is its limit."""
    header = bytearray(HEADER)
    header[8] ^= 1
    launches = [
        launch(kind, elf(), MEMORY),
        launch(kind, elf(), MEMORY + MEMORY_GRANULE),
        launch(kind, elf([(0x10_0000, bytes(header), 0x1000), *SEGMENTS[1:]]), MEMORY),
        launch(kind, elf([*SEGMENTS[:-1], (0x30_0000, b"", 0x4000)]), MEMORY),
        launch(kind, elf([SEGMENTS[0], (0x11_0000, b"\xf4" * 4999, 5000), *SEGMENTS[2:]]), MEMORY),
    ]
    assert len({expected_launch_digest(described) for described in launches}) == len(launches)


def test_everything_of_a_launch_is_measured() -> None:
    base = [SEGMENTS[0], *SEGMENTS[1:]]
    header = bytearray(HEADER)
    header[8] ^= 1
    launches = [
        launch(MachineKind.SNP, elf(), MEMORY),
        launch(MachineKind.PROCESS, elf(), MEMORY),
        launch(MachineKind.SNP, elf(), MEMORY + MEMORY_GRANULE),
        launch(MachineKind.SNP, elf([(0x10_0000, bytes(header), 0x1000), *base[1:]]), MEMORY),
        launch(MachineKind.SNP, elf([*base[:-1], (0x30_0000, b"", 0x4000)]), MEMORY),
        launch(MachineKind.SNP, elf([base[0], (0x11_0000, b"\xf4" * 4999, 5000), *base[2:]]), MEMORY),
        launch(MachineKind.SNP, elf([base[0], (0x12_0000, b"\xf4" * 5000, 5000), *base[2:]]), MEMORY),
    ]
    assert len({expected_launch_digest(described) for described in launches}) == len(launches)


def test_the_initial_registers() -> None:
    """Read back through another project's description of the save area."""
    state = SevEsSaveArea.from_buffer_copy(launch(MachineKind.SNP, elf(), MEMORY).vmsa)
    assert (state.cs.selector, state.cs.attrib, state.cs.limit, state.cs.base) == (0x1B, 0xAFB, 0xFFFFFFFF, 0)
    for segment in (state.ss, state.ds, state.es):
        assert (segment.selector, segment.attrib) == (0x23, 0xCF3)
    assert (state.gdtr.base, state.gdtr.limit) == (0x10_0040, 39)
    assert (state.idtr.base, state.idtr.limit) == (0x10_0070, 511)
    assert (state.tr.base, state.tr.limit, state.tr.attrib) == (0x10_0270, 107, 0x8B)
    assert (state.rip, state.rsp, state.cr3) == (0x11_0010, 0x9F_FFC0, 0x10_4000)
    assert (state.cr0, state.cr4, state.efer) == (0x80050033, 0x40620, 0x1D00)
    assert (state.cpl, state.vmpl, state.rflags, state.xcr0) == (3, 0, 2, 7)
    assert (state.sev_features, state.g_pat) == (1, 0x0007040600070406)
    assert (state.mxcsr, state.x87_fcw, state.dr6, state.dr7) == (0x1F80, 0x37F, 0xFFFF0FF0, 0x400)
    assert (state.rax, state.rdi, state.tsc_aux) == (0, 0, 0)


IMAGES: dict[str, bytes] = {
    "empty": b"",
    "not ELF": b"MZ".ljust(100, b"\0"),
    "32 bit": b"\x7fELF\x01\x01\x01".ljust(100, b"\0"),
    "shared object": elf(type=3),
    "another processor": elf(machine=183),
    "no program headers": elf(count=0),
    "too many program headers": elf(count=65),
    "program headers of another size": elf(entry_size=32),
    "program headers past the end": elf(offset=1 << 40),
    "contents past the end": elf(file_offset=1 << 40),
    "virtual is not physical": elf(skew=0x1000),
    "more contents than memory": elf([(0x10_0000, HEADER + b"x", 64)]),
    "address overflow": elf([(1 << 63, HEADER, 1 << 63)]),
    "overlap": elf([SEGMENTS[0], (0x10_0800, b"x", 16)]),
    "not on a page": elf([SEGMENTS[0], (0x11_0800, b"x", 16)]),
    "two on a page": elf([(0x10_0000, HEADER, 64), (0x10_0800, b"x", 16)]),
    "in the window": elf([SEGMENTS[0], (0x2F_F000, b"x", 0x1000)]),
    "through the window": elf([SEGMENTS[0], (0x1F_F000, b"x", 0x20_0000)]),
    "over the secrets page": elf([(SECRETS_GPA, b"x", 16), SEGMENTS[0]]),
    "above memory": elf([SEGMENTS[0], (MIN_MEMORY, b"x", 16)]),
    "no image": elf([(0x11_0000, b"x", 16)]),
    "image without contents": elf([(0x10_0000, b"", 16)]),
    "no header": elf([(0x10_0000, b"WKIMAGE2".ljust(64, b"\0"), 64)]),
    "header padding": elf([(0x10_0000, HEADER[:-1] + b"\1", 64)]),
    "too large": bytes(17 << 20),
}


@pytest.mark.parametrize("case", IMAGES)
def test_images_that_cannot_be_launched(case: str) -> None:
    with pytest.raises(InputError) as caught:
        launch(MachineKind.SNP, IMAGES[case], MEMORY)
    assert (caught.value.check, caught.value.exit_code) == ("image.malformed", 66)


def test_a_process_image_must_be_an_executable_too() -> None:
    for image in (b"", b"#!/bin/sh", elf([(0x10_0000, b"", 0)])):
        with pytest.raises(InputError):
            launch(MachineKind.PROCESS, image, MEMORY)


@settings(max_examples=60, deadline=None, database=None)
@given(st.data())
def test_damaged_images_are_refused_or_launched(data: st.DataObject) -> None:
    """Nothing but the documented error, whatever byte is wrong."""
    image = bytearray(elf())
    for _ in range(data.draw(st.integers(1, 4))):
        image[data.draw(st.integers(0, 64 + 56 * 4 - 1))] = data.draw(st.integers(0, 255))
    try:
        described = launch(MachineKind.SNP, bytes(image), MEMORY)
    except InputError:
        return
    assert len(expected_launch_digest(described)) == 48
    assert sum(region.size for region in described.regions) <= MIN_MEMORY


@pytest.mark.parametrize(
    "memory", [0, MIN_MEMORY - MEMORY_GRANULE, MEMORY + 1, MEMORY + 4096, -MEMORY, 1 << 41]
)
def test_memory_sizes(memory: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        launch(MachineKind.SNP, elf(), memory)
    assert caught.value.check == "image.memory"


def test_segments_are_sorted_and_empty_ones_left_out() -> None:
    segments = load_segments(elf([SEGMENTS[3], SEGMENTS[0], (0x20_0000, b"", 0)]))
    assert [segment.address for segment in segments] == [0x10_0000, 0x30_0000]


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of its own, with both images and their recorded digests."""
    records = ""
    for index, kind in enumerate(MachineKind):
        image = elf([SEGMENTS[0], (0x11_0000, bytes([index]) * 100, 100)])
        (tmp_path / f"{kind.value}.elf").write_bytes(image)
        records += f'[{kind.value}]\nsha256 = "{sha256(image).hexdigest()}"\n'
    (tmp_path / "digests.toml").write_text(records)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    for cached in (read_image, reference._launch_digest, reference._reference):
        cached.cache_clear()
        monkeypatch.setattr(reference, cached.__name__, cached)
    return tmp_path


@pytest.fixture(autouse=True)
def _forget() -> object:
    """Nothing of one test's installation is remembered in the next."""
    yield
    read_image.cache_clear()
    reference._launch_digest.cache_clear()
    reference._reference.cache_clear()


def test_own_name_resolves_to_the_kinds_of_a_tee(installation: Path) -> None:
    assert [entry.kind for entry in resolve(OWN_NAME)] == [MachineKind.SNP, MachineKind.PROCESS]
    for tee in ("snp", "sev", "sev-es"):
        references = resolve(OWN_NAME, tee)
        assert [entry.simulated_only for entry in references] == [False, True]
        assert {entry.tee for entry in references} == {tee}
    assert resolve(OWN_NAME, "tdx") == ()
    assert [entry.kind for entry in resolve(OWN_NAME, None)] == list(MachineKind)
    for entry in resolve(OWN_NAME, None):
        image = (installation / f"{entry.kind.value}.elf").read_bytes()
        assert (entry.name, entry.sha256, entry.size) == (OWN_NAME, sha256(image).digest(), len(image))
        assert entry.launch_digest(MEMORY) == expected_launch_digest(launch(entry.kind, image, MEMORY))


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize(("tee", "size"), [("snp", 48), ("sev", 32), ("sev-es", 32)])
def test_a_process_counts_only_when_simulated(tee: str, size: int) -> None:
    real = reference_values([OWN_NAME], MEMORY, simulated=False, tee=tee)
    simulated = reference_values([OWN_NAME], MEMORY, simulated=True, tee=tee)
    assert {len(digest) for digest in simulated} == {size}
    assert list(real.values()) == [OWN_NAME]
    assert list(simulated.values()) == [OWN_NAME, OWN_NAME]
    assert set(real) < set(simulated)


@pytest.mark.parametrize("name", ["wasmkeep 0.0.1", "wasmkeep", "", "latest"])
def test_other_names_do_not_resolve(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(name)
    assert caught.value.check == "image.unknown"


def _replace(file: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(content)


def _remove(file: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).unlink()


INSTALLATIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no image": (_remove("snp.elf"), "image.missing"),
    "no digests": (_remove("digests.toml"), "image.missing"),
    "another image": (_replace("snp.elf", elf()), "image.digest"),
    "digests not TOML": (_replace("digests.toml", b"["), "image.digests"),
    "not recorded": (_replace("digests.toml", b'[process]\nsha256 = ""'), "image.digests"),
    "recorded too short": (_replace("digests.toml", b'[snp]\nsha256 = "ab"'), "image.digests"),
    "recorded not hexadecimal": (_replace("digests.toml", b'[snp]\nsha256 = "zz"'), "image.digests"),
    "recorded otherwise": (_replace("digests.toml", b"snp = 5"), "image.digests"),
}


@pytest.mark.parametrize("case", INSTALLATIONS)
def test_damaged_installations(installation: Path, case: str) -> None:
    damage, check = INSTALLATIONS[case]
    damage(installation)
    with pytest.raises(WasmkeepError) as caught:
        resolve(OWN_NAME)
    assert caught.value.check == check


def test_own_image_if_it_is_built() -> None:
    """The images of this checkout, where `make image` has run."""
    folder = resources.files("wasmkeep.image")
    if not all(folder.joinpath(f"{kind.value}.elf").is_file() for kind in MachineKind):
        pytest.skip("the keep's images are not built here")
    for entry in resolve(OWN_NAME, None):
        described = launch(entry.kind, read_image(entry.kind), MEMORY)
        assert isinstance(described, Launch)
        assert isinstance(described.regions[0], Region)
        assert len(entry.launch_digest(MEMORY)) == (48 if entry.tee == "snp" else 32)
