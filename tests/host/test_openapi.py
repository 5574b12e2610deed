"""The description is true: of the routes, and of what they answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from starlette.routing import Route, WebSocketRoute

from tests.endorsements.bodies import BODIES, CHIP, SEV_BODIES
from tests.host.daemon import REQUEST, TSC_KHZ, daemon, run
from tests.host.machine import FakeImages, FakePlatform, endless_echo
from wasmkeep.endorsements import Document, FolderSource
from wasmkeep.host.app import routes
from wasmkeep.host.machine import Tee
from wasmkeep.host.openapi import OPERATIONS, document
from wasmkeep.host.server import Service, _host


class Kds:
    async def fetch(self, document: Document, /) -> bytes:
        return (BODIES | SEV_BODIES)[document]


def described_routes() -> set[tuple[str, str]]:
    service = Service(FakePlatform(), FakeImages(), FolderSource(Path()), TSC_KHZ)
    host = _host(service, "wk_own")
    found = set()
    for route in routes(host):
        if isinstance(route, WebSocketRoute):
            found.add(("get", route.path))
        else:
            assert isinstance(route, Route)
            found |= {(method.lower(), route.path) for method in (route.methods or set()) - {"HEAD"}}
    return found


def test_every_route_is_described_and_nothing_else() -> None:
    assert {(operation.method, operation.path) for operation in OPERATIONS} == described_routes()


def test_every_reference_resolves_and_every_parameter_is_described() -> None:
    whole: dict[str, Any] = document()
    schemas = whole["components"]["schemas"]
    for reference in re.findall(r"'#/components/schemas/(\w+)'", repr(whole)):
        assert reference in schemas
    for path, methods in whole["paths"].items():
        for operation in methods.values():
            named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
    identifiers = [
        operation["operationId"] for methods in whole["paths"].values() for operation in methods.values()
    ]
    assert len(identifiers) == len(set(identifiers))


TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def check(value: Any, schema: dict[str, Any], whole: dict[str, Any], where: str = "answer") -> None:
    """The part of JSON Schema that the description uses."""
    if "$ref" in schema:
        schema = whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "const" in schema:
        assert value == schema["const"], where
    if "enum" in schema:
        assert value in schema["enum"], where
    kinds = schema.get("type", [])
    if kinds:
        named = [kinds] if isinstance(kinds, str) else kinds
        assert any(isinstance(value, TYPES[kind]) for kind in named), where
    if "pattern" in schema and isinstance(value, str):
        assert re.search(schema["pattern"], value), where
    if "items" in schema:
        for item in value:
            check(item, schema["items"], whole, where + "[]")
    if isinstance(value, dict):
        assert set(schema.get("required", [])) <= set(value), where
        assert set(value) <= set(schema.get("properties", {})), (where, set(value))
        for name, member in value.items():
            check(member, schema["properties"][name], whole, f"{where}.{name}")


def test_answers_are_as_described() -> None:
    async def scenario() -> None:
        platform = FakePlatform(endless_echo, chip_id=CHIP)
        tees = (Tee("snp", 400), Tee("sev-es", 400), Tee("sev", 100))
        async with daemon(platform, endorsements=Kds(), tees=tees) as host:
            client = host.client
            whole = (await client.get("/openapi.json")).json()
            created = await client.post("/v1/keeps", json=REQUEST)
            keep = created.json()["id"]
            answers = [
                ("/v1/health", await client.get("/v1/health")),
                ("/v1/platform", await client.get("/v1/platform")),
                ("/v1/keeps", created),
                ("/v1/keeps", await client.post("/v1/keeps", json={})),
                ("/v1/keeps", await client.get("/v1/keeps")),
                ("/v1/keeps/{keep}", await client.get(f"/v1/keeps/{keep}")),
                ("/v1/keeps/{keep}", await client.delete(f"/v1/keeps/{keep}")),
                ("/v1/keeps/{keep}", await client.get(f"/v1/keeps/{keep}")),
                ("/v1/keeps/{keep}", await client.get("/v1/keeps/none")),
                ("/vcek/v1/{product}/crl", await client.get("/vcek/v1/Rome/crl")),
                ("/v1/keeps", await client.post("/v1/keeps", json={**REQUEST, "tee": "sev-es"})),
                ("/v1/sev/certificates", await client.get("/v1/sev/certificates")),
                ("/cek/id/{chip}", await client.get(f"/cek/id/{CHIP.hex()}")),
                ("/cek/id/{chip}", await client.get("/cek/id/00")),
                ("/sev/ask_ark_{product}.cert", await client.get("/sev/ask_ark_genoa.cert")),
                ("/sev/ask_ark_{product}.cert", await client.get("/sev/ask_ark_bulldozer.cert")),
            ]
            for document in BODIES:
                answer = await client.get(f"/{document.url_path}?{document.query}")
                assert answer.content == BODIES[document]
                name = re.sub("/[0-9a-f]{128}$", "/{hwid}", document.url_path)
                answers.append(("/" + name.replace("Genoa", "{product}"), answer))
            for path, answer in answers:
                described = whole["paths"][path][answer.request.method.lower()]["responses"]
                content = described[str(answer.status_code)].get("content", {})
                if not content:
                    assert answer.content == b""
                    continue
                ((media_type, body),) = content.items()
                assert answer.headers["Content-Type"].partition(";")[0] == media_type
                if media_type == "application/json":
                    check(answer.json(), body["schema"], whole, path)

    run(scenario())


def test_requests_of_the_tests_are_as_described() -> None:
    whole: dict[str, Any] = document()
    check(REQUEST, {"$ref": "#/components/schemas/KeepRequest"}, whole)
