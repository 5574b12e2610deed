"""Standard streams: as they come, to their end, and wired as the configuration says."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from wasmkeep.errors import InputError, OutputError
from wasmkeep.tenant.configuration import Configuration, Stream, StreamKind
from wasmkeep.tenant.streams import BytesInput, BytesOutput, FileInput, FileOutput, NoOutput
from wasmkeep.tenant.wiring import wired


def test_a_pipe_is_read_as_its_bytes_come() -> None:
    reader, writer = os.pipe()

    async def whole() -> list[bytes]:
        stdin = FileInput(reader)
        parts = []
        first = asyncio.create_task(stdin.read(100))
        await asyncio.sleep(0.02)
        assert not first.done()
        os.write(writer, b"one")
        parts.append(await first)
        os.write(writer, b"twothree")
        parts.append(await stdin.read(3))
        os.close(writer)
        parts += [await stdin.read(100), await stdin.read(100), await stdin.read(100)]
        return parts

    assert asyncio.run(whole()) == [b"one", b"two", b"three", b"", b""]
    os.close(reader)


def test_reading_can_be_given_up() -> None:
    reader, writer = os.pipe()

    async def whole() -> None:
        task = asyncio.create_task(FileInput(reader).read(1))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(whole())
    os.close(reader)
    os.close(writer)


def test_a_regular_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * 1000)
    descriptor = os.open(tmp_path / "in", os.O_RDONLY)

    async def whole() -> bytes:
        stdin, parts = FileInput(descriptor), []
        while part := await stdin.read(300):
            parts.append(part)
        return b"|".join(parts)

    assert asyncio.run(whole()).replace(b"|", b"") == b"x" * 1000
    os.close(descriptor)


def test_a_closed_standard_input_is_at_its_end() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    os.close(reader)
    assert asyncio.run(FileInput(reader).read(5)) == b""


def test_bytes_are_given_in_parts() -> None:
    stdin = BytesInput(b"abcdef")

    async def whole() -> list[bytes]:
        return [await stdin.read(4), await stdin.read(4), await stdin.read(4)]

    assert asyncio.run(whole()) == [b"abcd", b"ef", b""]


def test_output_that_nobody_reads_is_a_named_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(OutputError) as refused:
        asyncio.run(FileOutput(writer, "standard output").write(b"x"))
    assert refused.value.check == "output.write"
    os.close(writer)


def test_a_reader_that_pauses_holds_up_nobody_else() -> None:
    reader, writer = os.pipe()
    data = bytes(range(256)) * 4096  # far more than a pipe holds

    async def whole() -> bytes:
        writing = asyncio.create_task(FileOutput(writer, "standard output").write(data))
        ticks = 0
        while ticks < 20:  # the loop goes on although nobody reads
            await asyncio.sleep(0)
            ticks += 1
        assert not writing.done()
        read = bytearray()
        os.set_blocking(reader, False)
        while len(read) < len(data):
            await asyncio.sleep(0.001)
            try:
                read += os.read(reader, 1 << 16)
            except BlockingIOError:
                continue
        await writing
        return bytes(read)

    assert asyncio.run(whole()) == data
    os.close(reader)
    os.close(writer)


def test_writing_can_be_given_up() -> None:
    reader, writer = os.pipe()

    async def whole() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await FileOutput(writer, "standard output").write(bytes(1 << 20))

    asyncio.run(whole())
    os.close(reader)
    os.close(writer)


def test_an_output_that_does_not_wait_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)

    async def whole() -> int:
        writing = asyncio.create_task(FileOutput(writer, "standard output").write(bytes(200_000)))
        size = 0
        while size < 200_000:
            await asyncio.sleep(0.001)
            try:
                size += len(os.read(reader, 1 << 16))
            except BlockingIOError:
                continue
        await writing
        return size

    assert asyncio.run(whole()) == 200_000
    os.close(reader)
    os.close(writer)


def test_a_regular_file_is_written_whole(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        asyncio.run(FileOutput(file.fileno(), "standard output").write(b"x" * 100_000))
    assert (tmp_path / "out").stat().st_size == 100_000


def test_streams_are_wired_as_configured(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"input")
    configuration = Configuration(
        stdin=Stream(StreamKind.FILE, tmp_path / "in"),
        stdout=Stream(StreamKind.FILE, tmp_path / "out"),
        stderr=Stream(StreamKind.NONE),
    )
    with wired(configuration, (BytesInput(b"no"), BytesOutput(), BytesOutput())) as (stdin, stdout, stderr):
        assert asyncio.run(stdin.read(99)) == b"input"
        asyncio.run(stdout.write(b"output"))
        asyncio.run(stderr.write(b"nowhere"))
        assert isinstance(stderr, NoOutput)
    assert (tmp_path / "out").read_bytes() == b"output"


def test_inherited_streams_are_the_callers() -> None:
    given = (BytesInput(b"x"), BytesOutput(), BytesOutput())
    with wired(Configuration(), given) as streams:
        assert streams == given


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    given = (BytesInput(b""), BytesOutput(), BytesOutput())
    missing = Configuration(stdin=Stream(StreamKind.FILE, tmp_path / "missing"))
    with pytest.raises(InputError), wired(missing, given):
        pass
    unwritable = Configuration(stdout=Stream(StreamKind.FILE, tmp_path / "no" / "folder"))
    with pytest.raises(OutputError), wired(unwritable, given):
        pass
