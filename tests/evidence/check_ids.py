"""Every check id that the code can refuse by, read from its source.

A check's id is the first argument of a `Finding`, or of a function that makes one; such a function may put a
prefix before it. So literals are followed through calls, conditions, loops over tables and prefixes. What
cannot be followed is an error: ids are to be plain in the source.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path

import wasmkeep

__all__ = ["UNFOLLOWED", "collect", "package_files"]

UNFOLLOWED = {"one.label": ("cek", "pek", "oca", "pdh")}
"""Expressions that cannot be followed, and all that they may be."""
_NEVER = frozenset({"sev.policy.migration", "sev.policy.domain", "sev.policy.sev"})
"""Followed too far: a condition gives the bit another word, or another loop has the same name."""

_ROOT = Path(wasmkeep.__file__).resolve().parent
_FINDING = ("wasmkeep.evidence.errors", "Finding")
_PACKAGES = ("evidence",)


@dataclass(frozen=True)
class Maker:
    """A function whose argument ``name`` (at ``index``, unless it is passed by name) ends in a check id."""

    name: str
    index: int
    prefixes: frozenset[str]


@dataclass
class Module:
    """One source file: its tree, its functions, its tables, and where its names come from."""

    name: str
    tree: ast.Module
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    tables: dict[str, ast.expr] = field(default_factory=dict)


def package_files() -> Iterator[Path]:
    for package in _PACKAGES:
        yield from sorted((_ROOT / package).rglob("*.py"))


def _module(path: Path) -> Module:
    dotted = ".".join(path.relative_to(_ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    module = Module(dotted, ast.parse(path.read_text(encoding="utf-8")))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                module.imports[alias.asname or alias.name] = (node.module, alias.name)
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            module.tables[statement.targets[0].id] = statement.value
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.value
        ):
            module.tables[statement.target.id] = statement.value
    return module


@dataclass
class _Collector:
    modules: dict[str, Module]
    makers: dict[tuple[str, str], dict[str, Maker]] = field(
        default_factory=lambda: {_FINDING: {"check": Maker("check", 0, frozenset({""}))}}
    )
    ids: dict[str, set[str]] = field(default_factory=dict)
    unresolved: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Until nothing new is learnt of functions; then once more for the ids."""
        known = None
        while known != self.makers:
            known = {home: dict(makers) for home, makers in self.makers.items()}
            self.ids.clear()
            self.unresolved.clear()
            for module in self.modules.values():
                self._module(module)

    def _module(self, module: Module) -> None:
        for scope in _functions(module.tree):
            for call in _own_calls(scope):
                for maker in list(self._makers_of(module, call.func)):
                    self._call(module, scope, call, maker)

    def _makers_of(self, module: Module, function: ast.expr) -> Iterable[Maker]:
        if isinstance(function, ast.Name):
            home = module.imports.get(function.id, (module.name, function.id))
            return self.makers.get(home, {}).values()
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            package, name = module.imports.get(function.value.id, ("", ""))
            return self.makers.get((f"{package}.{name}", function.attr), {}).values()
        return ()

    def _call(self, module: Module, scope: ast.FunctionDef, call: ast.Call, maker: Maker) -> None:
        argument = next((word.value for word in call.keywords if word.arg == maker.name), None)
        if argument is None and len(call.args) > maker.index:
            argument = call.args[maker.index]
        if argument is None or (isinstance(argument, ast.Constant) and argument.value is None):
            return
        parameters = [parameter.arg for parameter in (*scope.args.args, *scope.args.kwonlyargs)]
        for prefix, rest in _values(module, scope, argument, parameters):
            if rest is None:
                for before in maker.prefixes:
                    self.ids.setdefault(before + prefix, set()).add(module.name)
            elif rest in parameters:
                self._learn(module, scope, rest, frozenset(before + prefix for before in maker.prefixes))
            elif rest in UNFOLLOWED:
                for before, word in product(maker.prefixes, UNFOLLOWED[rest]):
                    self.ids.setdefault(before + prefix + word, set()).add(module.name)
            else:
                self.unresolved.add(f"{module.name}: {ast.unparse(argument)}")

    def _learn(self, module: Module, scope: ast.FunctionDef, name: str, prefixes: frozenset[str]) -> None:
        parameters = [parameter.arg for parameter in (*scope.args.args, *scope.args.kwonlyargs)]
        home = (module.name, scope.name)
        makers = self.makers.setdefault(home, {})
        if name in makers:
            prefixes |= makers[name].prefixes
        index = [one for one in parameters if one not in ("self", "cls")].index(name)
        makers[name] = Maker(name, index, prefixes)


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def _own_calls(scope: ast.FunctionDef) -> Iterator[ast.Call]:
    """Calls in a function's body and in what it defines inside that is not a function with a name."""
    waiting: list[ast.AST] = list(scope.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Call):
            yield node
        waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.FunctionDef)]


def _values(
    module: Module, scope: ast.FunctionDef, node: ast.expr, parameters: list[str]
) -> Iterator[tuple[str, str | None]]:
    """What an expression may be: (text, None), or (prefix, name) where a name follows that is not known."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):  # None where a caller leaves it to the function
            yield node.value, None
    elif isinstance(node, ast.IfExp):
        yield from _values(module, scope, node.body, parameters)
        yield from _values(module, scope, node.orelse, parameters)
    elif isinstance(node, ast.BoolOp):
        for one in node.values:
            yield from _values(module, scope, one, parameters)
    elif isinstance(node, ast.JoinedStr):
        yield from _joined(module, scope, node.values, parameters)
    elif isinstance(node, ast.Name) and node.id not in parameters:
        found = list(_local(module, scope, node.id))
        for one in found:
            yield from _values(module, scope, one, parameters)
        if not found:
            yield "", node.id
    elif isinstance(node, ast.Name):
        yield "", node.id
    else:
        yield from _methods(module, scope, node, parameters)


def _joined(
    module: Module, scope: ast.FunctionDef, parts: list[ast.expr], parameters: list[str]
) -> Iterator[tuple[str, str | None]]:
    if not parts:
        yield "", None
        return
    first, *rest = parts
    inner = first.value if isinstance(first, ast.FormattedValue) else first
    for text, name in _values(module, scope, inner, parameters):
        if name is not None:
            yield text, name if not rest else f"{name}…"
            continue
        for more, unknown in _joined(module, scope, rest, parameters):
            yield text + more, unknown


def _methods(
    module: Module, scope: ast.FunctionDef, node: ast.expr, parameters: list[str]
) -> Iterator[tuple[str, str | None]]:
    """Changes of a text that can be made here as well."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        arguments = [one.value for one in node.args if isinstance(one, ast.Constant)]
        if node.func.attr in ("removesuffix", "removeprefix", "replace", "lower"):
            for text, name in _values(module, scope, node.func.value, parameters):
                known = name is None
                yield (getattr(text, node.func.attr)(*arguments) if known else text), name
            return
    yield "", ast.unparse(node)


def _local(module: Module, scope: ast.FunctionDef, name: str) -> Iterator[ast.expr]:
    """Expressions that a local name, or a module's constant, was given."""
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _at(target, [node.value], name)
        if isinstance(node, ast.For | ast.comprehension) and name in _names(node.target) - _names(node.iter):
            yield from _at(node.target, _items(module, scope, node.iter), name)
    if name in module.tables:
        yield module.tables[name]


def _names(node: ast.expr) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _items(module: Module, scope: ast.FunctionDef, node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Tuple | ast.List):
        return node.elts
    if isinstance(node, ast.Dict):
        return [key for key in node.keys if key is not None]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "items":
        table = node.func.value
        table = module.tables.get(table.id, table) if isinstance(table, ast.Name) else table
        if isinstance(table, ast.Dict):
            pairs = zip(table.keys, table.values, strict=True)
            return [ast.Tuple([key, value], ast.Load()) for key, value in pairs if key is not None]
    if isinstance(node, ast.Name):
        return [item for one in _local(module, scope, node.id) for item in _items(module, scope, one)]
    return []


def _at(target: ast.expr, values: list[ast.expr], name: str) -> Iterator[ast.expr]:
    """The parts of values that a target gives to a name."""
    if isinstance(target, ast.Name) and target.id == name:
        yield from values
    if isinstance(target, ast.Tuple):
        for index, one in enumerate(target.elts):
            parts = [
                value.elts[index]
                for value in values
                if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
            ]
            parts += [
                argument
                for value in values
                if isinstance(value, ast.Call)
                for argument in value.args[index : index + 1]
            ]
            yield from _at(one, parts, name)


@cache
def collect() -> tuple[dict[str, frozenset[str]], frozenset[str]]:
    """(check ids with the modules that refuse by them, what could not be followed)."""
    modules = {module.name: module for module in (_module(path) for path in package_files())}
    for module in modules.values():
        for name, (package, original) in module.imports.items():
            if package in modules and original in modules[package].tables:
                module.tables.setdefault(name, modules[package].tables[original])
    collector = _Collector(modules)
    collector.run()
    ids = {check: frozenset(homes) for check, homes in sorted(collector.ids.items()) if check not in _NEVER}
    return ids, frozenset(collector.unresolved)
