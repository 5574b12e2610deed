"""Names of documents: every part checked before it becomes part of a path."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmkeep.endorsements import Cek, CertChain, Crl, Product, SevCa, SevProduct, Vcek
from wasmkeep.errors import InputError

CHIP = bytes(range(1, 65))
GENOA_TCB = bytes([9, 0, 0, 0, 0, 0, 23, 72])
TURIN_TCB = bytes([1, 2, 3, 4, 0, 0, 0, 80])
TURIN_CHIP = bytes(range(1, 9)) + bytes(56)


def test_url_and_file_of_a_genoa_vcek() -> None:
    vcek = Vcek.of_report(Product.GENOA, CHIP, GENOA_TCB)
    assert vcek.url_path == f"vcek/v1/Genoa/{CHIP.hex()}"
    assert vcek.query == "blSPL=9&teeSPL=0&snpSPL=23&ucodeSPL=72"
    assert vcek.file_path == f"vcek/v1/Genoa/{CHIP.hex()}/blSPL=9,teeSPL=0,snpSPL=23,ucodeSPL=72.der"


def test_turin_has_a_short_hwid_and_an_fmc_level() -> None:
    vcek = Vcek.of_report(Product.TURIN, TURIN_CHIP, TURIN_TCB)
    assert vcek.hwid == TURIN_CHIP[:8]
    assert vcek.query == "fmcSPL=1&blSPL=2&teeSPL=3&snpSPL=4&ucodeSPL=80"


def test_names_of_chain_and_crl() -> None:
    assert CertChain(Product.MILAN).url_path == "vcek/v1/Milan/cert_chain"
    assert Crl(Product.MILAN).url_path == "vcek/v1/Milan/crl"


def test_a_masked_chip_has_no_vcek() -> None:
    with pytest.raises(InputError) as refused:
        Vcek.of_report(Product.GENOA, bytes(64), GENOA_TCB)
    assert refused.value.check == "endorsements.chip_masked"


@pytest.mark.parametrize(
    ("product", "chip", "tcb"),
    [
        (Product.GENOA, CHIP[:63], GENOA_TCB),
        (Product.GENOA, CHIP + b"\0", GENOA_TCB),
        (Product.GENOA, CHIP, GENOA_TCB[:7]),
        (Product.GENOA, CHIP, bytes([9, 0, 1, 0, 0, 0, 23, 72])),
        (Product.TURIN, CHIP, TURIN_TCB),
        (Product.TURIN, TURIN_CHIP, bytes([1, 2, 3, 4, 5, 0, 0, 80])),
    ],
    ids=[
        "short chip id",
        "long chip id",
        "short TCB",
        "reserved byte",
        "long Turin id",
        "reserved Turin byte",
    ],
)
def test_a_report_with_malformed_fields_names_no_document(product: Product, chip: bytes, tcb: bytes) -> None:
    with pytest.raises(InputError) as refused:
        Vcek.of_report(product, chip, tcb)
    assert refused.value.check == "endorsements.name"


GOOD_QUERY = [("blSPL", "09"), ("teeSPL", "0"), ("snpSPL", "23"), ("ucodeSPL", "072")]


def test_a_request_may_pad_with_zeros_and_come_in_any_order() -> None:
    vcek = Vcek.of_request(Product.GENOA, CHIP.hex().upper(), GOOD_QUERY[::-1])
    assert vcek == Vcek.of_report(Product.GENOA, CHIP, GENOA_TCB)


@pytest.mark.parametrize(
    "query",
    [
        GOOD_QUERY[:3],
        [*GOOD_QUERY, ("blSPL", "9")],
        [*GOOD_QUERY, ("fmcSPL", "1")],
        [("blSPL", "256"), *GOOD_QUERY[1:]],
        [("blSPL", "-1"), *GOOD_QUERY[1:]],
        [("blSPL", "../.."), *GOOD_QUERY[1:]],
        [("blSPL", ""), *GOOD_QUERY[1:]],
        [("blSPL", "9\n"), *GOOD_QUERY[1:]],
        [("blSPL", "٣"), *GOOD_QUERY[1:]],
    ],
    ids=["missing", "twice", "unknown", "too large", "negative", "path", "empty", "newline", "other digits"],
)
def test_a_request_with_a_wrong_query_names_no_document(query: list[tuple[str, str]]) -> None:
    with pytest.raises(InputError):
        Vcek.of_request(Product.GENOA, CHIP.hex(), query)


@pytest.mark.parametrize("hwid", ["", "00", "../" * 42 + "aa", CHIP.hex()[:-1] + "g", CHIP.hex()[:-1] + "\n"])
def test_a_request_with_a_wrong_hwid_names_no_document(hwid: str) -> None:
    with pytest.raises(InputError):
        Vcek.of_request(Product.GENOA, hwid, GOOD_QUERY)


@given(st.text(max_size=130), st.lists(st.tuples(st.text(max_size=9), st.text(max_size=4)), max_size=6))
def test_whatever_is_asked_for_stays_inside_the_folder(hwid: str, query: list[tuple[str, str]]) -> None:
    try:
        vcek = Vcek.of_request(Product.GENOA, hwid, query)
    except InputError:
        return
    assert ".." not in Path(vcek.file_path).parts


@given(st.sampled_from(Product), st.binary(min_size=64, max_size=64), st.binary(min_size=5, max_size=5))
def test_what_a_report_names_a_request_names_too(product: Product, chip: bytes, levels: bytes) -> None:
    hwid = chip[: product.hwid_bytes]
    if not any(hwid):
        return
    vcek = Vcek(product, hwid, tuple(levels[: len(product.levels)]))
    pairs = [(name, value) for name, _, value in (part.partition("=") for part in vcek.query.split("&"))]
    assert Vcek.of_request(product, hwid.hex(), pairs) == vcek


@pytest.mark.parametrize("name", ["genoa", "Genoa", "GENOA"])
def test_products_by_name(name: str) -> None:
    assert Product.named(name) is Product.GENOA


@pytest.mark.parametrize("name", ["", "Naples", "../Genoa", "Genoa/", "genoa\n"])
def test_another_product_is_refused(name: str) -> None:
    with pytest.raises(InputError) as refused:
        Product.named(name)
    assert refused.value.check == "endorsements.product"


def test_names_of_the_documents_of_sev() -> None:
    assert Cek(CHIP).url_path == Cek(CHIP).file_path == f"cek/id/{CHIP.hex()}"
    assert Cek.of_request(CHIP.hex().upper()) == Cek(CHIP)
    assert SevCa(SevProduct.NAPLES).file_path == "sev/ask_ark_naples.cert"
    assert SevProduct.named("Rome") is SevProduct.ROME


@pytest.mark.parametrize(
    "chip", ["", "00", "00" * 64, "../" * 42 + "aa", CHIP.hex()[:-1] + "g", CHIP.hex() + "0"]
)
def test_a_request_with_a_wrong_chip_names_no_cek(chip: str) -> None:
    with pytest.raises(InputError) as refused:
        Cek.of_request(chip)
    assert refused.value.check == "endorsements.name"


@pytest.mark.parametrize("name", ["", "bulldozer", "../rome", "rome\n"])
def test_another_generation_of_sev_is_refused(name: str) -> None:
    with pytest.raises(InputError) as refused:
        SevProduct.named(name)
    assert refused.value.check == "endorsements.product"
