# ruff: noqa: PT009, PT027, SIM115 - unittest and open() are what it works through
"""Runs inside CPython for WASI, in a keep and in plain wasmtime: what it prints must be the same."""

import collections
import csv
import decimal
import errno
import functools
import hashlib
import io
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import sqlite3
import struct
import sys
import tempfile
import textwrap
import time
import unittest
import zlib


class Language(unittest.TestCase):
    def test_integers(self) -> None:
        self.assertEqual(2**521 % 10**9, pow(2, 521, 10**9))
        self.assertEqual(int(str(3**4000)[:50]), int(str(3**4000)[:50]))

    def test_floats(self) -> None:
        self.assertEqual((0.1 + 0.2).hex(), "0x1.3333333333334p-2")
        self.assertEqual(float("nan") == float("nan"), False)

    def test_exceptions(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            functools.reduce(lambda a, b: a / b, [1.0, 0.0])

    def test_deep_recursion(self) -> None:
        def deep(n: int) -> int:
            return 0 if n == 0 else 1 + deep(n - 1)

        self.assertEqual(deep(200), 200)

    @unittest.skip("on purpose")
    def test_skipped(self) -> None:
        self.fail()


def json_and_re() -> None:
    document = {"a": [1, 2.5, None, True, "\u00e9\U0001f600"], "b": {str(i): i**i for i in range(20)}}
    text = json.dumps(document, sort_keys=True)
    print(text[:100], json.loads(text) == document, hashlib.sha256(text.encode()).hexdigest())
    text = " ".join(f"user{i}@example{i % 3}.org" for i in range(300))
    print(collections.Counter(re.findall(r"@(\w+)\.org", text)))
    print(re.sub(r"(?P<n>\d+)@", lambda m: f"<{int(m['n']) * 2}>", text)[:60], re.split(r"[@.]", text)[:4])
    print(textwrap.fill("the quick brown fox jumps over the lazy dog " * 3, 40))


def files(base: str) -> None:
    folder = pathlib.Path(base, "folder")
    folder.mkdir()
    (folder / "text").write_text("line\n" * 1000)
    with (folder / "binary").open("wb+") as file:
        file.write(struct.pack("<1000I", *range(1000)))
        file.seek(400)
        file.write(b"\xff" * 8)
        file.truncate(3000)
        file.seek(-4, os.SEEK_END)
        print(file.read(), file.tell(), zlib.crc32((folder / "binary").read_bytes()))
    with (folder / "text").open("a") as file:
        file.write("last")
    print(sum(1 for _ in (folder / "text").open()), (folder / "text").stat().st_size)
    for i in range(40):
        (folder / f"n{i:02d}").touch()
    os.rename(folder / "n00", folder / "renamed")
    os.replace(folder / "n01", folder / "n02")
    print(sorted(os.listdir(folder))[:5], len(list(os.scandir(folder))))
    os.utime(folder / "text", ns=(10**18, 10**18 + 5))
    print(os.stat(folder / "text").st_mtime_ns)
    for bad in ("folder/none", "folder/text/x", "folder", "none/x"):
        try:
            open(pathlib.Path(base, bad), "w" if bad == "folder" else "r")
        except OSError as error:
            print(bad, errno.errorcode[error.errno or 0])
    for change in (os.rmdir, os.unlink):
        try:
            change(folder)
        except OSError as error:
            print(change.__name__, errno.errorcode[error.errno or 0])
    with tempfile.TemporaryFile(dir=base) as file:
        file.write(b"unnamed")
        file.seek(0)
        print(file.read())
    shutil.copytree(folder, pathlib.Path(base, "copied"))
    print(len(os.listdir(pathlib.Path(base, "copied"))))
    shutil.rmtree(folder)
    print(sorted(os.listdir(base)))


def databases(base: str) -> None:
    for name in (":memory:", os.path.join(base, "people.db")):
        database = sqlite3.connect(name)
        database.execute("create table people (id integer primary key, name text, score real)")
        database.execute("create index by_score on people (score)")
        rows = ((i, f"person {i * 7919 % 1000}", i * 37 % 101 / 7) for i in range(2000))
        database.executemany("insert into people values (?, ?, ?)", rows)
        database.commit()
        print(database.execute("select count(*), max(name), round(sum(score), 6) from people").fetchone())
        try:
            with database:
                database.execute("delete from people where id > 10")
                database.execute("insert into people values (1, 'again', 0)")
        except sqlite3.IntegrityError as error:
            print(error)
        query = "select name, score from people where score > 14 order by score desc, id limit 3"
        print(database.execute(query).fetchall(), database.execute("pragma integrity_check").fetchone())
        database.execute("vacuum")
        database.close()
    with open(os.path.join(base, "people.db"), "rb") as file:
        print(file.read(16), os.path.getsize(file.name))


def main() -> None:
    print(sys.version, sys.platform, sys.argv[1:], sorted(os.environ))
    print(pathlib.Path(__file__).with_name("table.csv").read_text() == "a,b\n1,2\n3,4\n", sys.stdin.read())
    with pathlib.Path(__file__).with_name("table.csv").open() as file:
        print([dict(row) for row in csv.DictReader(file)])
    random.seed(7)
    print([random.randrange(1000) for _ in range(5)], random.gauss(0, 1), decimal.Decimal(2).sqrt())
    print(hashlib.blake2b(b"x" * 100_000).hexdigest()[:16], zlib.decompress(zlib.compress(b"y" * 9999))[:3])
    print(len(list(itertools.permutations(range(7)))), time.time() > 1.6e9, time.monotonic() >= 0)
    print(len(os.urandom(100_000)), os.urandom(16) != os.urandom(16))
    began = time.monotonic()
    time.sleep(0.01)
    print(time.monotonic() - began >= 0.01)
    json_and_re()
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        files(base)
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        databases(base)
    output = io.StringIO()
    ran = unittest.TextTestRunner(stream=output, verbosity=2).run(
        unittest.defaultTestLoader.loadTestsFromTestCase(Language)
    )
    print(ran, re.sub(r"in [0-9.]+s", "in time", output.getvalue()))
    print("to stderr", file=sys.stderr)
    sys.exit(42)


main()
