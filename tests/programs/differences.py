"""Where a keep's WASI gives something else than wasmtime's, on purpose: both results, and the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DIFFERENCES", "Difference"]


@dataclass(frozen=True, slots=True)
class Difference:
    """``cases`` that give ``keep`` (errno and values) in a keep and ``wasmtime`` in plain wasmtime."""

    reason: str
    keep: str
    wasmtime: str
    cases: tuple[str, ...]


_OUTSIDE: Final = (
    "An address or a length outside memory ends the program in wasmtime; here the call fails, as "
    "POSIX has it (EFAULT), and has done nothing."
)
_UNKNOWN: Final = (
    "Unknown flags and numbers end the program in wasmtime; here they are EINVAL, or lack a right."
)
_UNALIGNED: Final = (
    "wasmtime ends a program that passes an unaligned address; here records need no alignment."
)
_NOT_OFFERED: Final = "Links and signals are not offered: ENOSYS (docs/wasi.md)."
_CLOCKS: Final = "The CPU-time clocks are in neither; wasmtime says EBADF, the specification EINVAL."
_KIND: Final = (
    "wasmtime says EBADF of a descriptor of the wrong kind, and ENOTDIR of a stream with no name; "
    "here it is POSIX's errno for that kind."
)
_RIGHTS: Final = (
    "wasmtime enforces no rights and cannot take them away; here a descriptor without the right gets "
    "ENOTCAPABLE, or EBADF where it was not opened for reading or writing."
)
_SCATTERED: Final = (
    "wasmtime reads into or writes from the first buffer that is not empty; here all of them count."
)
_EXCLUSIVE: Final = "A directory opened to be created: EISDIR here, as Linux says of `.`; EEXIST in wasmtime."
_POSITIONS: Final = (
    "wasmtime takes positions for signed, and adds without looking (a position wraps to the "
    "beginning); here they are unsigned as specified, one that would be beyond the farthest is "
    "EINVAL, a file too large EFBIG."
)
_FLAGS: Final = "wasmtime cannot change these flags of an open file; here nothing hangs on them."
_ALLOCATE: Final = "wasmtime has no fd_allocate (ENOTSUP); here it grows the file."
_SLASH: Final = "wasmtime refuses to remove a directory by its name with a slash, as Linux removes it."
_NUL: Final = "Linux counts the NUL that WASI's paths do not have."
_BUFFERS: Final = (
    "wasmtime looks at the first buffer that is not empty, and has an EOVERFLOW for what cannot be "
    "counted; here every buffer is checked before anything is done, and there are at most 1,024."
)
_POLL: Final = (
    "wasmtime fails the whole call for one bad subscription, and counts no bytes; here a bad one "
    "fails in its own event beside the others, and a file's bytes are counted."
)
_READ_ONLY: Final = (
    "wasmtime has no read-only file systems, only folders that may not be changed (EPERM); here it is "
    "EROFS, after what holds for any tree (ENOENT, EEXIST)."
)

DIFFERENCES: Final = (
    Difference(
        _OUTSIDE,
        "21",
        "trap",
        (
            "process.args_sizes_get count outside",
            "process.args_sizes_get size outside",
            "process.args_get pointers outside",
            "process.args_get buffer outside",
            "process.environ_sizes_get count outside",
            "process.environ_sizes_get size outside",
            "process.environ_get pointers outside",
            "process.environ_get buffer outside",
            "process.clock_time_get outside",
            "process.clock_res_get outside",
            "process.random_get outside",
            "process.random_get of 4 GiB",
            "process.random_get across 4 GiB",
            "process.fd_prestat_get outside",
            "process.fd_prestat_dir_name outside",
            "paths.a path across 4 GiB",
            "polling.subscriptions outside",
            "polling.events outside",
            "polling.count outside",
            "pointers.fd_read vectors",
            "pointers.fd_read buffer",
            "pointers.fd_read count",
            "pointers.fd_read a buffer across 2^32",
            "pointers.fd_pread vectors",
            "pointers.fd_pread buffer",
            "pointers.fd_pread count",
            "pointers.fd_write vectors",
            "pointers.fd_write buffer",
            "pointers.fd_pwrite vectors",
            "pointers.fd_pwrite buffer",
            "pointers.fd_seek",
            "pointers.fd_tell",
            "pointers.fd_fdstat_get",
            "pointers.fd_filestat_get",
            "pointers.fd_write output outside",
            "pointers.fd_read input outside",
            "pointers.fd_readdir buffer",
            "pointers.fd_readdir used",
            "pointers.path_create_directory",
            "pointers.path_filestat_get path",
            "pointers.path_filestat_get out",
            "pointers.path_filestat_set_times",
            "pointers.path_open path",
            "pointers.path_open out",
            "pointers.path_readlink path",
            "pointers.path_remove_directory",
            "pointers.path_rename path",
            "pointers.path_rename name",
            "pointers.path_unlink_file",
            "pointers.path_open to create, out outside",
        ),
    ),
    Difference(
        _UNKNOWN,
        "28",
        "trap",
        (
            "process.clock_time_get clock 4",
            "process.clock_res_get clock 4",
            "process.clock_time_get clock -1",
            "files.unknown open flags",
            "files.unknown descriptor flags",
            "files.unknown lookup flags",
            "files.unknown rights",
            "files.fd_fdstat_set_flags unknown",
            "seeking.whence 3",
            "seeking.fd_advise 6",
            "seeking.fd_advise 7",
            "attributes.path_filestat_get unknown flags",
            "attributes.fd_filestat_set_times unknown",
            "attributes.path_filestat_set_times unknown",
            "attributes.path_filestat_set_times unknown lookup",
        ),
    ),
    Difference(
        _UNKNOWN,
        "76",
        "trap",
        ("rights.unknown rights",),
    ),
    Difference(
        _UNALIGNED,
        "0",
        "trap",
        (
            "process.clock_time_get unaligned",
            "pointers.fd_filestat_get unaligned",
        ),
    ),
    Difference(
        _NOT_OFFERED,
        "52",
        "trap",
        (
            "process.proc_raise unknown",
            "pointers.path_link path",
            "pointers.path_link name",
            "pointers.path_symlink target",
            "pointers.path_symlink path",
        ),
    ),
    Difference(
        _NOT_OFFERED,
        "52",
        "58",
        ("process.proc_raise none",),
    ),
    Difference(
        _NOT_OFFERED,
        "52",
        "44",
        ("rights.path_link lacking",),
    ),
    Difference(
        _NOT_OFFERED,
        "52",
        "0",
        ("rights.path_symlink lacking",),
    ),
    Difference(
        _NOT_OFFERED,
        "52",
        "63",
        (
            "paths.path_symlink out",
            "paths.path_link out",
            "read_only.path_symlink",
            "read_only.path_link",
        ),
    ),
    Difference(
        _NOT_OFFERED,
        "0 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 52 8 8 8 8 52 8",
        "0 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8",
        (
            "descriptors.every function on 99",
            "descriptors.every function on 2^31",
            "descriptors.every function on 2^32-1",
            "descriptors.every function on a closed one",
        ),
    ),
    Difference(
        _NOT_OFFERED,
        "52",
        "8",
        ("descriptors.path_link to a closed one",),
    ),
    Difference(
        _CLOCKS,
        "28",
        "8",
        (
            "process.clock_res_get process",
            "process.clock_time_get process",
            "process.clock_time_get thread",
        ),
    ),
    Difference(
        _KIND,
        "8",
        "54",
        ("process.fd_prestat_dir_name stdin",),
    ),
    Difference(
        _KIND,
        "54",
        "8",
        (
            "streams.fd_readdir input",
            "streams.path_open below input",
            "streams.path_filestat_get below output",
            "attributes.path_filestat_get of a file's",
            "directories.fd_readdir a file",
            "descriptors.path_rename from a file's",
            "descriptors.path_create_directory below a file's",
        ),
    ),
    Difference(
        _KIND,
        "70",
        "8",
        (
            "streams.fd_allocate output",
            "streams.fd_advise output",
        ),
    ),
    Difference(
        _KIND,
        "28",
        "8",
        (
            "streams.fd_sync output",
            "streams.fd_datasync output",
            "streams.fd_filestat_set_size output",
        ),
    ),
    Difference(
        _KIND,
        "31",
        "8",
        (
            "files.fd_read a directory",
            "files.fd_pread a directory",
            "seeking.a directory",
            "seeking.fd_tell a directory",
            "seeking.fd_filestat_set_size directory",
            "seeking.fd_allocate directory",
            "seeking.fd_advise directory",
        ),
    ),
    Difference(
        _KIND,
        "0",
        "8",
        (
            "seeking.fd_sync directory",
            "seeking.fd_datasync directory",
        ),
    ),
    Difference(
        _RIGHTS,
        "76",
        "8",
        ("streams.fd_filestat_set_times output",),
    ),
    Difference(
        _RIGHTS,
        "76",
        "58",
        (
            "rights.give itself more",
            "rights.take it back",
            "rights.fd_allocate lacking",
            "read_only.fd_allocate",
        ),
    ),
    Difference(
        _RIGHTS,
        "0",
        "58",
        ("rights.take away",),
    ),
    Difference(
        _RIGHTS,
        "8",
        "0",
        (
            "rights.fd_read taken away",
            "rights.fd_write taken away",
        ),
    ),
    Difference(
        _RIGHTS,
        "76",
        "0",
        (
            "rights.fd_seek lacking",
            "rights.fd_tell lacking",
            "rights.fd_sync lacking",
            "rights.fd_datasync lacking",
            "rights.fd_advise lacking",
            "rights.fd_filestat_get lacking",
            "rights.fd_filestat_set_size lacking",
            "rights.fd_filestat_set_times lacking",
            "rights.fd_fdstat_set_flags lacking",
            "rights.path_create_directory lacking",
            "rights.path_open to create lacking",
            "rights.path_open beyond what it hands down",
            "rights.path_filestat_get lacking",
            "rights.path_filestat_set_times lacking",
            "rights.fd_readdir lacking",
        ),
    ),
    Difference(
        _RIGHTS,
        "76",
        "44",
        (
            "rights.path_rename lacking",
            "rights.path_remove_directory lacking",
            "rights.path_unlink_file lacking",
            "rights.path_readlink lacking",
        ),
    ),
    Difference(
        _RIGHTS,
        "76",
        "63",
        (
            "read_only.fd_filestat_set_size",
            "read_only.fd_filestat_set_times",
        ),
    ),
    Difference(
        _SCATTERED,
        "0 0",
        "27",
        ("streams.fd_read nothing",),
    ),
    Difference(
        _SCATTERED,
        "0 14",
        "0 4",
        ("streams.fd_write gathers",),
    ),
    Difference(
        _SCATTERED,
        "0 5 01234",
        "0 3 012",
        ("files.fd_read scatters",),
    ),
    Difference(
        _SCATTERED,
        "0 10 016789",
        "0 6 012345",
        ("files.fd_read overlapping",),
    ),
    Difference(
        _EXCLUSIVE,
        "31",
        "20",
        ("files.create a directory's name",),
    ),
    Difference(
        _POSITIONS,
        "0",
        "28",
        (
            "files.fd_pread at 2^63",
            "files.fd_pread at 2^64-1",
            "seeking.fd_advise the whole range",
        ),
    ),
    Difference(
        _POSITIONS,
        "22",
        "28",
        (
            "files.fd_pwrite at 2^63",
            "files.fd_pwrite at 2^64-1",
            "seeking.fd_filestat_set_size 2^63",
            "seeking.fd_filestat_set_size 2^64-1",
        ),
    ),
    Difference(
        _POSITIONS,
        "28",
        "0",
        (
            "seeking.beyond the farthest",
            "seeking.the least",
        ),
    ),
    Difference(
        _POSITIONS,
        "22",
        "0",
        ("seeking.write there",),
    ),
    Difference(
        _POSITIONS,
        "0 01234567890000",
        "0 x1234567890000",
        ("seeking.grown",),
    ),
    Difference(
        _POSITIONS,
        "0 012000",
        "0 x12000",
        ("seeking.with zeros",),
    ),
    Difference(
        _FLAGS,
        "0",
        "28",
        ("files.fd_fdstat_set_flags sync",),
    ),
    Difference(
        _ALLOCATE,
        "0",
        "58",
        (
            "seeking.fd_allocate",
            "seeking.fd_allocate within",
        ),
    ),
    Difference(
        _ALLOCATE,
        "0 10",
        "0 6",
        (
            "seeking.fd_allocate grew",
            "seeking.fd_allocate shrinks nothing",
        ),
    ),
    Difference(
        _ALLOCATE,
        "28",
        "58",
        ("seeking.fd_allocate nothing",),
    ),
    Difference(
        _ALLOCATE,
        "22",
        "58",
        ("seeking.fd_allocate beyond 2^64",),
    ),
    Difference(
        _SLASH,
        "0",
        "28",
        ("directories.remove a/b/",),
    ),
    Difference(
        _SLASH,
        "0",
        "55",
        ("directories.remove a",),
    ),
    Difference(
        _NUL,
        "0",
        "37",
        ("paths.a path of 4096",),
    ),
    Difference(
        _BUFFERS,
        "21",
        "48",
        (
            "paths.a path of 4 GiB",
            "pointers.fd_read a buffer of 2^32-1",
            "pointers.fd_write a buffer of 2^32-1",
        ),
    ),
    Difference(
        _BUFFERS,
        "28",
        "48",
        (
            "polling.2^32-1 subscriptions",
            "polling.2^27 subscriptions",
            "pointers.fd_read 2^32-1 vectors",
            "pointers.fd_read 2^29 vectors",
        ),
    ),
    Difference(
        _BUFFERS,
        "21",
        "0",
        (
            "pointers.fd_read, the second buffer outside",
            "pointers.fd_read nothing beyond memory",
            "pointers.fd_write, the second buffer outside",
            "pointers.fd_readdir 2^32-1 bytes",
        ),
    ),
    Difference(
        _BUFFERS,
        "0 0",
        "0 2",
        ("pointers.the position has not moved",),
    ),
    Difference(
        _POLL,
        "0 5",
        "0 1",
        ("polling.bytes there",),
    ),
    Difference(
        _POLL,
        "0 100:1:8",
        "8",
        (
            "polling.output to read",
            "polling.an unknown descriptor",
            "polling.a directory",
        ),
    ),
    Difference(
        _POLL,
        "0 100:2:8",
        "8",
        ("polling.input to write",),
    ),
    Difference(
        _POLL,
        "0 100:1:8 101:2:0",
        "8",
        ("polling.an unknown descriptor and a file",),
    ),
    Difference(
        _READ_ONLY,
        "69",
        "63",
        (
            "read_only.open with every right",
            "read_only.open to write",
            "read_only.truncate",
            "read_only.create",
            "read_only.path_create_directory",
            "read_only.path_unlink_file",
            "read_only.path_remove_directory",
            "read_only.path_rename",
            "read_only.path_rename out of it",
            "read_only.path_filestat_set_times",
        ),
    ),
    Difference(
        _READ_ONLY,
        "0",
        "63",
        ("read_only.create what is there, to read",),
    ),
    Difference(
        _READ_ONLY,
        "20",
        "63",
        (
            "read_only.create exclusively what is there",
            "read_only.path_create_directory what is there",
        ),
    ),
    Difference(
        _READ_ONLY,
        "44",
        "63",
        ("read_only.path_unlink_file none",),
    ),
)
