"""`Keep.toml`: what a program is given and how it is wired, beside the program; and what overrides it.

Strict: an unknown key is an error that names the nearest known one and its line. Paths are relative to the
folder of the file and stay inside it, so that a program's author cannot name the user's other files; a path
on the command line may be any. docs/programs.md is the reference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from wasmkeep.tenant.settings import DEFAULT_LEVEL, CpuLevel
from wasmkeep.tenant.trees import LocalTree

__all__ = [
    "DEFAULT_MEMORY",
    "Configuration",
    "Overridden",
    "Overrides",
    "Stream",
    "StreamKind",
    "apply",
    "canonical",
]

DEFAULT_MEMORY: Final = 256 << 20
"""Limit of linear memory where nobody says otherwise, in bytes."""

FORMAT_VERSION: Final = 1

T = TypeVar("T")


class StreamKind(StrEnum):
    """How a standard stream is wired."""

    INHERIT = "inherit"
    NONE = "none"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Stream:
    """``inherit``: the command's own; ``none``: empty, or thrown away; ``file``: a file of the tenant's.

    ``beneath`` is the folder of the `Keep.toml` that named the file: no symbolic link may lead from it to the
    file. None: the file's own folder.
    """

    kind: StreamKind = StreamKind.INHERIT
    file: Path | None = None
    beneath: Path | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything a run is given besides program, host and policy.

    ``environment`` maps names to values; ``environment_from`` are names whose values come from the caller's
    environment. ``memory`` in bytes; ``timeout`` in seconds, None for no limit.
    """

    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment_from: tuple[str, ...] = ()
    trees: tuple[LocalTree, ...] = ()
    stdin: Stream = Stream()
    stdout: Stream = Stream()
    stderr: Stream = Stream()
    memory: int = DEFAULT_MEMORY
    level: CpuLevel = DEFAULT_LEVEL
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says; None or empty leaves the configuration's.

    ``environment`` and ``trees`` are added, and win over a name or a place in the keep that is there already.
    """

    arguments: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    trees: tuple[LocalTree, ...] = ()
    memory: int | None = None
    level: CpuLevel | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Overridden:
    """One setting of `Keep.toml` that the command line replaced, for the screen. Holds no value of env."""

    key: str
    was: str
    now: str


def apply(configuration: Configuration, overrides: Overrides) -> tuple[Configuration, tuple[Overridden, ...]]:
    """The effective configuration, and what of the file was overridden. A default that changes is not."""
    default = Configuration()
    effective = replace(
        configuration,
        arguments=_chosen(overrides.arguments, configuration.arguments),
        environment={**configuration.environment, **overrides.environment},
        environment_from=tuple(x for x in configuration.environment_from if x not in overrides.environment),
        trees=(*_trees_left(configuration, overrides), *overrides.trees),
        memory=_chosen(overrides.memory, configuration.memory),
        level=_chosen(overrides.level, configuration.level),
        timeout=_chosen(overrides.timeout, configuration.timeout),
    )
    settings = (
        ("args", configuration.arguments, effective.arguments, default.arguments),
        ("limits.memory", configuration.memory, effective.memory, default.memory),
        ("cpu", configuration.level, effective.level, default.level),
        ("timeout", configuration.timeout, effective.timeout, default.timeout),
    )
    seen = [
        Overridden(key, _brief(was), _brief(now))
        for key, was, now, unset in settings
        if was not in (now, unset)
    ]
    named = (*configuration.environment, *configuration.environment_from)
    seen += [
        Overridden(f"env.{x}", "set", "set by the command line") for x in named if x in overrides.environment
    ]
    left = _trees_left(configuration, overrides)
    seen += [
        Overridden(f"dirs {x.guest}", str(x.local), "the command line's")
        for x in configuration.trees
        if x not in left
    ]
    return effective, tuple(seen)


def _chosen(override: T | None, present: T) -> T:
    return present if override is None else override


def _brief(value: object) -> str:
    return f"{len(value)} arguments" if isinstance(value, tuple) else str(value)


def _trees_left(configuration: Configuration, overrides: Overrides) -> list[LocalTree]:
    """The file's trees whose place in the keep the command line does not take."""
    taken = {x.guest.strip("/") for x in overrides.trees}
    return [x for x in configuration.trees if x.guest.strip("/") not in taken]


def canonical(configuration: Configuration) -> bytes:
    """The effective configuration as the keep receives it: one JSON text, sorted, no spaces, UTF-8.

    Arguments, environment and file contents are delivered and digested on their own; of them only names and
    places are here, and no path of the tenant's computer.
    """
    value = {
        "version": FORMAT_VERSION,
        "cpu": str(configuration.level),
        "dirs": [{"guest": "/" + x.guest.strip("/"), "writable": x.writable} for x in configuration.trees],
        "limits": {"memory": configuration.memory},
        "stdio": {name: getattr(configuration, name).kind for name in ("stdin", "stdout", "stderr")},
        "timeout": configuration.timeout,
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
