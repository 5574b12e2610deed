"""Births of guest processes: a small process, forked before the machine has secrets or threads, that forks
them.

The machine's process has many threads, and forking such a process is only safe for a child that runs
nothing of its own. This one has a single thread, so its children may set limits and a death signal before
they become the guest. It dies with the machine, and its children with it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import socket
import struct
import threading
from contextlib import suppress

from wasmkeep.hardware.process import die_with_parent, forbid_core_dumps, forbid_new_privileges

_REQUEST = struct.Struct("<Q")  # address space limit in bytes
_ANSWER = struct.Struct("<i")  # 0, or an errno
_FIRST_DESCRIPTOR = 3  # window, exits, private memory
_GUEST_DESCRIPTORS = 3
_PROGRAM = _FIRST_DESCRIPTOR + _GUEST_DESCRIPTORS  # closed by the exec
_REPORT = _PROGRAM + 1  # likewise
_ABOVE = 64  # where descriptors wait that are to be moved to low numbers
_MAX_DESCRIPTOR = 1 << 16
_LIMITS = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_NOFILE, _REPORT + 1),
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_NPROC, 0),
    (resource.RLIMIT_MEMLOCK, 0),
    (resource.RLIMIT_MSGQUEUE, 0),
)
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Nursery:
    """The machine's end. Made once, in the main thread, before any other thread starts."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        machine = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _nursery_main(theirs, machine)
        theirs.close()

    def spawn(self, program: int, descriptors: tuple[int, int, int], address_space: int) -> int:
        """Run the file `program` with `descriptors` as 3, 4 and 5; the process's pidfd.

        Raises OSError as fork or exec did.
        """
        with self._lock:
            socket.send_fds(self._socket, [_REQUEST.pack(address_space)], [*descriptors, program])
            flags = socket.MSG_CMSG_CLOEXEC
            data, received, _, _ = socket.recv_fds(self._socket, _ANSWER.size, 1, flags)
        if len(data) != _ANSWER.size:
            raise OSError(errno.EPIPE, "the process that starts guests is gone")
        (number,) = _ANSWER.unpack(data)
        if number:
            raise OSError(number, os.strerror(number))
        return received[0]

    def close(self) -> None:
        """End it; guests that still live end with it."""
        self._socket.close()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _nursery_main(requests: socket.socket, machine: int) -> None:
    """Serve until the machine hangs up. Never returns."""
    try:
        die_with_parent()
        if os.getppid() != machine:  # it died before the line above
            return
        forbid_core_dumps()
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)  # the machine decides when this ends
        signal.signal(signal.SIGCHLD, lambda *_: _reap())
        os.closerange(_FIRST_DESCRIPTOR, requests.fileno())
        os.closerange(requests.fileno() + 1, _MAX_DESCRIPTOR)
        while True:
            data, descriptors, _, _ = socket.recv_fds(
                requests, _REQUEST.size, _GUEST_DESCRIPTORS + 1, socket.MSG_CMSG_CLOEXEC
            )
            if not data:
                return
            _answer(requests, data, descriptors)
    finally:
        os._exit(0)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _answer(requests: socket.socket, data: bytes, descriptors: list[int]) -> None:
    (address_space,) = _REQUEST.unpack(data)
    opened = list(descriptors)
    # A child that dies at once must not be reaped before its pidfd is open.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        process = os.pidfd_open(_fork(descriptors, address_space))
        opened.append(process)
        socket.send_fds(requests, [_ANSWER.pack(0)], [process])
    except OSError as error:
        requests.send(_ANSWER.pack(error.errno or errno.EIO))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for descriptor in opened:
            os.close(descriptor)


def _fork(descriptors: list[int], address_space: int) -> int:
    """Fork and exec; the child's pid. Raises OSError for what failed in the child before the exec."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _become_guest(descriptors, writer, address_space, parent)
        except OSError as error:
            os.write(_REPORT, _ANSWER.pack(error.errno or errno.EIO))
        finally:
            os._exit(127)
    os.close(writer)
    try:
        report = os.read(reader, _ANSWER.size)  # nothing: the exec closed it
    finally:
        os.close(reader)
    if report:
        (number,) = _ANSWER.unpack(report)
        raise OSError(number, os.strerror(number))
    return pid


def _become_guest(descriptors: list[int], report: int, address_space: int, parent: int) -> None:
    """Leave everything behind but the three descriptors, then become the program. Raises OSError."""
    above = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for each in (*descriptors, report)]
    for number, descriptor in enumerate(above, _FIRST_DESCRIPTOR):
        os.dup2(descriptor, number, inheritable=number < _PROGRAM)
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(_FIRST_DESCRIPTOR):
        os.dup2(null, number)
    os.closerange(_REPORT + 1, _MAX_DESCRIPTOR)
    die_with_parent()
    if os.getppid() != parent:
        raise OSError(errno.ESRCH, "the nursery is gone")
    # Whatever this machine or its parent ignores (a shell's background job ignores SIGQUIT) stays behind.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.setsid()
    os.chdir("/")
    forbid_new_privileges()
    for limit, value in ((resource.RLIMIT_AS, address_space), *_LIMITS):
        resource.setrlimit(limit, (value, value))
    os.execve(_PROGRAM, ["keep"], {})  # noqa: S606 - a file held open, no shell, no environment
