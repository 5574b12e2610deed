"""Local folders: what goes into a keep, and every name, link and kind of file that does not."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from wasmkeep.errors import InputError
from wasmkeep.tenant import trees
from wasmkeep.tenant.package import DeliveredFile
from wasmkeep.tenant.trees import LocalTree, read_trees


def _paths(files: tuple[DeliveredFile, ...]) -> list[tuple[bytes, bool]]:
    return [(x.path, x.directory) for x in files]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "b" / "deep").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"first")
    (root / "b" / "z").write_bytes(b"last")
    (root / "b" / "deep" / "x").write_bytes(b"")
    os.utime(root / "a.txt", ns=(1, 1_234_567_890_123_456_789))
    return root


def test_parents_first_in_order_of_names(tree: Path) -> None:
    files = read_trees([LocalTree(tree, "/data")])
    assert _paths(files) == [
        (b"data", True),
        (b"data/a.txt", False),
        (b"data/b", True),
        (b"data/b/deep", True),
        (b"data/b/deep/x", False),
        (b"data/b/z", False),
    ]
    assert [x.content for x in files if not x.directory] == [b"first", b"", b"last"]
    assert files[1].modified == 1_234_567_890_123_456_789
    assert not any(x.writable for x in files)
    assert files == read_trees([LocalTree(tree, "/data")])


def test_writable_tree_inside_a_read_only_parent(tree: Path) -> None:
    files = read_trees([LocalTree(tree / "b", "/work/inner/", writable=True)])
    assert [(x.path, x.writable) for x in files] == [
        (b"work", False),
        (b"work/inner", True),
        (b"work/inner/deep", True),
        (b"work/inner/deep/x", True),
        (b"work/inner/z", True),
    ]


def test_root_and_single_file(tree: Path) -> None:
    assert _paths(read_trees([LocalTree(tree / "b", "/")])) == [
        (b"deep", True),
        (b"deep/x", False),
        (b"z", False),
    ]
    files = read_trees([LocalTree(tree / "a.txt", "/etc/first")])
    assert _paths(files) == [(b"etc", True), (b"etc/first", False)]


def test_trees_may_share_folders_but_no_file(tree: Path) -> None:
    both = read_trees([LocalTree(tree / "b", "/d/one"), LocalTree(tree / "b", "/d/two")])
    assert [x.path for x in both].count(b"d") == 1
    with pytest.raises(InputError, match="same file"):
        read_trees([LocalTree(tree, "/d"), LocalTree(tree, "/d")])


def test_links_inside_are_delivered_as_copies(tree: Path) -> None:
    (tree / "link").symlink_to("b/z")
    (tree / "b" / "up").symlink_to("../a.txt")
    (tree / "chain").symlink_to("./b/./up")
    (tree / "folder").symlink_to("b/deep/")
    files = {x.path: x for x in read_trees([LocalTree(tree, "/d")])}
    assert files[b"d/link"].content == b"last"
    assert files[b"d/b/up"].content == b"first"
    assert files[b"d/chain"].content == b"first"
    assert files[b"d/folder"].directory
    assert files[b"d/folder/x"].content == b""


def test_the_tree_itself_may_be_named_through_a_link(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "named").symlink_to(tree)
    assert read_trees([LocalTree(tmp_path / "named", "/d")]) == read_trees([LocalTree(tree, "/d")])


LINKS: dict[str, tuple[str, str]] = {
    "absolute": ("/etc/passwd", "leads out"),
    "absolute into the tree": ("{tree}/a.txt", "leads out"),
    "parent": ("../secret", "leads out"),
    "parent and back": ("../tree/a.txt", "leads out"),
    "hidden in the middle": ("b/../../secret", "leads out"),
    "through another link": ("escape/secret", "leads out"),
    "dangling": ("nowhere", "cannot be read"),
    "to itself": ("link", "too many symbolic links"),
    "to its own folder": (".", "leads back"),
    "to a folder above": ("b/top", "leads back"),
    "file as a folder": ("a.txt/x", "only files and folders"),
}


@pytest.mark.parametrize("case", LINKS)
def test_links_that_are_refused(case: str, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    if case == "through another link":
        (tree / "escape").symlink_to("..")
    if case == "to a folder above":
        (tree / "b" / "top").symlink_to("..")
    target, words = LINKS[case]
    (tree / "link").symlink_to(target.format(tree=tree))
    with pytest.raises(InputError, match=words) as refused:
        read_trees([LocalTree(tree, "/d")])
    assert "secret" not in refused.value.message


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


KINDS: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "socket": _socket,
    "link to a device": lambda path: path.symlink_to("../zero"),
}


@pytest.mark.parametrize("case", KINDS)
def test_special_files_are_refused(case: str, tree: Path) -> None:
    KINDS[case](tree / "special")
    with pytest.raises(InputError) as refused:
        read_trees([LocalTree(tree, "/d")])
    assert refused.value.exit_code == 66


def test_a_device_is_not_a_tree() -> None:
    with pytest.raises(InputError, match="only folders and regular files"):
        read_trees([LocalTree(Path("/dev/null"), "/d")])


@pytest.mark.parametrize("name", [b"back\\slash", b"a" * 255 + b"\\"])
def test_hostile_names(name: bytes, tree: Path) -> None:
    if len(name) > 255:
        name = name[-255:]
    (tree / os.fsdecode(name)).write_bytes(b"")
    with pytest.raises(InputError) as refused:
        read_trees([LocalTree(tree, "/d")])
    assert refused.value.check == "files.name"


def test_names_are_escaped_in_messages(tree: Path) -> None:
    (tree / os.fsdecode(b"\x1b[31m\xff\\")).write_bytes(b"")
    with pytest.raises(InputError) as refused:
        read_trees([LocalTree(tree, "/d")])
    assert "\x1b" not in str(refused.value)


def test_bytes_that_are_not_text_are_a_name(tree: Path) -> None:
    (tree / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    assert b"d/\xff\xfe" in [x.path for x in read_trees([LocalTree(tree, "/d")])]


@pytest.mark.parametrize(
    "guest",
    ["", "data", "data/", "/a//b", "/a/../b", "/./a", "/a\0b", "/" + "a" * 256, "/tmp", "/tmp/x", "/a\\b"],
)
def test_hostile_places_in_the_keep(guest: str, tree: Path) -> None:
    with pytest.raises(InputError):
        read_trees([LocalTree(tree, guest)])


def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_trees([LocalTree(tmp_path / "absent", "/d")])
    with pytest.raises(InputError, match="cannot be read"):
        read_trees([LocalTree(tmp_path / ("n" * 300), "/d")])
    with pytest.raises(InputError, match="no path"):
        read_trees([LocalTree(Path("a\0b"), "/d")])


def test_too_many_files(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MAX_FILES", 5)
    with pytest.raises(InputError, match="too large"):
        read_trees([LocalTree(tree, "/d")])


@pytest.mark.parametrize("size", [9, 8])
def test_too_many_bytes(tree: Path, size: int) -> None:
    collected = trees._Collected(bytes_left=size)
    if size == 9:
        trees._read_tree(LocalTree(tree, "/d"), collected)
        assert collected.bytes_left == 0
    else:
        with pytest.raises(InputError, match="too large"):
            trees._read_tree(LocalTree(tree, "/d"), collected)


def test_nested_too_deep(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    (folder / "/".join("d" * 101)).mkdir(parents=True)
    with pytest.raises(InputError, match="nested"):
        read_trees([LocalTree(folder, "/d")])


def test_a_folder_that_becomes_a_link_while_it_is_read_is_not_followed(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and opening, an attacker replaces a folder by a link to another."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "z").write_bytes(b"secret")
    original = os.stat

    def stat_then_swap(path: str | bytes | int, **options: object) -> os.stat_result:
        result = original(path, **options)  # type: ignore[arg-type]  # passed through
        if path == b"b" and (tree / "b").is_dir() and not (tree / "b").is_symlink():
            (tree / "b").rename(tree / "moved")
            (tree / "b").symlink_to(secret)
        return result

    monkeypatch.setattr(os, "stat", stat_then_swap)
    with pytest.raises(InputError):
        read_trees([LocalTree(tree, "/d")])


def test_a_file_that_becomes_a_link_or_pipe_while_it_is_read_is_not_followed(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    original = os.stat
    for replace in (lambda path: path.symlink_to(tmp_path / "secret"), os.mkfifo):
        (tree / "a.txt").unlink(missing_ok=True)
        (tree / "a.txt").write_bytes(b"plain")

        def stat_then_swap(
            path: str | bytes | int, replace: Callable[[Path], object] = replace, **options: object
        ) -> os.stat_result:
            result = original(path, **options)  # type: ignore[arg-type]  # passed through
            if path == b"a.txt":
                (tree / "a.txt").unlink()
                replace(tree / "a.txt")
            return result

        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", stat_then_swap)
            with pytest.raises(InputError):
                read_trees([LocalTree(tree, "/d")])


def test_no_descriptor_is_left_open(tree: Path) -> None:
    (tree / "folder").symlink_to("b/deep")
    before = len(os.listdir("/proc/self/fd"))
    read_trees([LocalTree(tree, "/d")])
    (tree / "link").symlink_to("..")
    with pytest.raises(InputError):
        read_trees([LocalTree(tree, "/d")])
    assert len(os.listdir("/proc/self/fd")) == before
