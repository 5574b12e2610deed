"""Guest messages and the secrets page lie where the specification puts them (SNP firmware ABI 7, 8.17)."""

from __future__ import annotations

import pytest

from wasmkeep.hardware import snp_messages as m


def test_header_fields_lie_at_their_offsets() -> None:
    header = m.MessageHeader(bytes(range(1, 17)), 0x1122334455667788, 1, 2, 0x60, 5, 7, 0x0304, 3)
    page = header.encode()
    assert len(page) == m.HEADER_SIZE
    assert page[0x00:0x10] == bytes(range(1, 17))
    assert page[0x10:0x20] == bytes(16)
    assert page[0x20:0x28] == bytes.fromhex("8877665544332211")
    assert (page[0x30], page[0x31], page[0x32:0x34]) == (1, 2, b"\x60\0")
    assert (page[0x34], page[0x35], page[0x36:0x38]) == (5, 7, b"\x04\x03")
    assert page[0x3C] == 3
    assert m.MessageHeader.parse(page) == header
    assert m.additional_data(page) == page[0x30:0x60]


@pytest.mark.parametrize("offset", [0x10, 0x1F, 0x28, 0x38, 0x3D, 0x5F])
def test_reserved_bytes_of_a_header_are_noticed(offset: int) -> None:
    page = bytearray(m.header_for(m.MessageType.REPORT_REQ, 1, 96, 0).encode())
    assert not m.MessageHeader.parse(bytes(page)).reserved
    page[offset] = 1
    assert m.MessageHeader.parse(bytes(page)).reserved


def test_a_short_header_is_refused() -> None:
    with pytest.raises(ValueError, match="96-byte"):
        m.MessageHeader.parse(bytes(0x5F))


def test_initialisation_vector_is_the_sequence_number_then_zeros() -> None:
    assert m.initialisation_vector(0x0102) == b"\x02\x01" + bytes(10)


def test_report_request_and_response() -> None:
    request = m.ReportRequest(bytes(range(64)), vmpl=2, key_select=1)
    data = request.encode()
    assert len(data) == m.ReportRequest.SIZE == 96
    assert (data[:64], data[0x40], data[0x44]) == (bytes(range(64)), 2, 1)
    assert m.ReportRequest.parse(data) == request
    response = m.ReportResponse(0, b"\7" * 1184)
    assert len(response.encode()) == m.ReportResponse.SIZE == 0x4C0
    assert response.encode()[0x20:] == b"\7" * 1184
    assert m.ReportResponse.parse(response.encode()) == response
    assert m.ReportResponse.parse(m.ReportResponse(0x16, b"").encode()) == m.ReportResponse(0x16, b"")


@pytest.mark.parametrize("bad", [bytes(0x4BF), b"\0\0\0\0\x01".ljust(0x4C0, b"\0")])
def test_a_report_response_of_another_size_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match="report"):
        m.ReportResponse.parse(bad)


@pytest.mark.parametrize("offset", [0x44, 0x47, 0x48, 0x5F])
def test_reserved_bits_of_a_report_request_are_noticed(offset: int) -> None:
    data = bytearray(m.ReportRequest(bytes(64)).encode())
    data[offset] |= 0x80
    assert m.ReportRequest.parse(bytes(data)).reserved


def test_key_request_and_response() -> None:
    request = m.KeyRequest(1, 2, 0x3F, 3, 0x11, 0x2233)
    data = request.encode()
    assert len(data) == m.KeyRequest.SIZE == 32
    assert (data[0], data[8], data[0x10], data[0x14], data[0x18:0x1A]) == (0b101, 0x3F, 3, 0x11, b"\x33\x22")
    assert m.KeyRequest.parse(data) == request
    answer = m.KeyResponse(0, bytes(range(32)))
    assert len(answer.encode()) == m.KeyResponse.SIZE == 64
    assert answer.encode()[0x20:] == bytes(range(32))
    assert m.KeyResponse.parse(answer.encode()) == answer


def test_secrets_page_and_its_silence() -> None:
    keys = (b"\1" * 32, b"\2" * 32, b"\3" * 32, b"\4" * 32)
    page = m.SecretsPage(3, 0xA10F11, bytes(range(16)), keys)
    data = page.encode()
    assert len(data) == 4096
    assert data[:0x20] == bytes.fromhex("03000000 00000000 110fa100 00000000") + bytes(range(16))
    assert (data[0x20:0x40], data[0x80:0xA0]) == (keys[0], keys[3])
    assert not any(data[0xA0:])
    assert m.SecretsPage.parse(data) == page
    assert "01010101" not in repr(page)
    assert repr(page) == "SecretsPage(version=3)"
