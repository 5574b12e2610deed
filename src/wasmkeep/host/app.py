"""The daemon's HTTP API: routes, and what each answers. ``openapi`` describes the same; a test compares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from wasmkeep import __version__
from wasmkeep.endorsements import (
    Cek,
    CertChain,
    Crl,
    Document,
    Product,
    SevCa,
    SevProduct,
    Source,
    Vcek,
)
from wasmkeep.errors import WasmkeepError
from wasmkeep.host import openapi
from wasmkeep.host.endings import STOPPED, TENANT_LEFT
from wasmkeep.host.gate import Gate, owner_in, refuse
from wasmkeep.host.images import Images
from wasmkeep.host.keeps import EndedKeep, Keeps, LivingKeep
from wasmkeep.host.launch_snp import DEFAULT_GUEST_POLICY
from wasmkeep.host.machine import Tee
from wasmkeep.host.replies import Refused, json_bytes, json_response
from wasmkeep.host.requests import KEEP_HEADER, KeepRequest, parse_keep_request, read_body, read_keep_header
from wasmkeep.host.session import join, serve_session
from wasmkeep.host.settings import Limits
from wasmkeep.host.sev_certificates import EndorsementMissing, SevCertificates
from wasmkeep.host.tap import LaunchOrder
from wasmkeep.host.tees import Tees
from wasmkeep.host.tokens import Tokens
from wasmkeep.host.window import DATA_SIZE

__all__ = ["Host", "create_app", "routes"]

log = logging.getLogger("wasmkeep.host")

_ENDORSEMENT_AGE: dict[type[Document], int] = {
    Vcek: 86400,
    CertChain: 3600,
    Crl: 3600,
    Cek: 86400,
    SevCa: 3600,
}
# What a tenant is told; the error itself may name the operator's files and addresses.
_ENDORSEMENT_REFUSALS = {
    "endorsements.product": (404, "there is no such processor generation"),
    "endorsements.name": (400, "the name of the endorsement is malformed"),
    "endorsements.chip_masked": (404, "a masked chip has no VCEK"),
    "endorsements.rate_limited": (429, "the endorsement service allows no more requests now"),
    "endorsements.slow": (504, "the endorsement service is too slow"),
}
_MISSING = frozenset({"endorsements.missing", "endorsements.unknown"})
_MISSING_WORDS: dict[type[Document], str] = {
    Vcek: "this host has no VCEK for that chip and TCB",
    CertChain: "this host has no certificate chain for that generation",
    Crl: "this host has no revocation list for that generation",
    Cek: "this host has no signed CEK for that chip",
    SevCa: "this host has no ASK and ARK for SEV of that generation",
}
_ENDORSEMENT_FAILURE = (502, "the endorsement service failed")


@dataclass(frozen=True, slots=True)
class Host:
    """Everything the routes use."""

    images: Images
    keeps: Keeps
    tees: Tees
    sev_certificates: SevCertificates
    endorsements: Source
    tokens: Tokens
    limits: Limits
    tsc_khz: int


def create_app(host: Host, *, names: Iterable[str]) -> ASGIApp:
    """The daemon as an ASGI application; ``names`` are the host names by which it may be called."""
    app = Starlette(
        routes=routes(host),
        exception_handlers={Refused: _refused, HTTPException: _http_exception},
    )
    app.router.redirect_slashes = False
    return Gate(app, host.tokens, names=names, limits=host.limits)


def routes(host: Host) -> list[BaseRoute]:
    api = _Api(host)
    return [
        WebSocketRoute("/v1/session", api.new_session),
        Route("/v1/health", _health, methods=["GET"]),
        Route("/v1/platform", api.platform, methods=["GET"]),
        Route("/v1/keeps", api.create_keep, methods=["POST"]),
        Route("/v1/keeps", api.list_keeps, methods=["GET"]),
        Route("/v1/keeps/{keep}", api.show_keep, methods=["GET"]),
        Route("/v1/keeps/{keep}", api.stop_keep, methods=["DELETE"]),
        WebSocketRoute("/v1/keeps/{keep}/session", api.session),
        Route("/vcek/v1/{product}/cert_chain", api.cert_chain, methods=["GET"]),
        Route("/vcek/v1/{product}/crl", api.crl, methods=["GET"]),
        Route("/vcek/v1/{product}/{hwid}", api.vcek, methods=["GET"]),
        Route("/v1/sev/certificates", api.sev_certificates, methods=["GET"]),
        Route("/cek/id/{chip}", api.cek, methods=["GET"]),
        Route("/sev/ask_ark_{product}.cert", api.sev_ca, methods=["GET"]),
        Route("/openapi.json", _openapi, methods=["GET"]),
    ]


async def _health(_: Request) -> Response:
    return json_response({"status": "ok", "service": "wasmkeep", "version": __version__})


async def _openapi(_: Request) -> Response:
    return json_response(openapi.document())


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise error
    return error.response()


async def _http_exception(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    codes = {
        404: ("no_such_path", "there is no such path"),
        405: ("method", "that method is not for this path"),
    }
    code, message = codes.get(error.status_code, ("http", "the request cannot be answered"))
    response = Refused(error.status_code, code, message).response()
    response.headers.update(error.headers or {})
    return response


class _Api:
    """The routes that use the host's parts."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def platform(self, _: Request) -> Response:
        limits = self._host.limits
        return json_response(
            {
                "version": __version__,
                "tees": await self._host.tees.described(),
                "limits": {
                    "keeps": min(limits.keeps, self._host.tees.slots),
                    "keeps_per_token": limits.keeps_per_token,
                    "memory": limits.keep_memory,
                    "message": DATA_SIZE,
                    "idle_seconds": limits.idle_seconds,
                    "lifetime_seconds": limits.lifetime_seconds,
                },
                "images": list(self._host.images.names),
            }
        )

    async def create_keep(self, request: Request) -> Response:
        body = await read_body(request, self._host.limits)
        _, created = await self._create(parse_keep_request(body), owner_in(request.scope))
        return json_response(created, 201)

    async def new_session(self, socket: WebSocket) -> None:
        """A keep and its session in one request: both ends' first words travel in a header."""
        try:
            wanted = parse_keep_request(read_keep_header(socket.headers.getlist(KEEP_HEADER)))
            living, created = await self._create(wanted, owner_in(socket.scope))
        except Refused as refused:
            await refuse(refused, socket.scope, socket.receive, socket.send)
            return
        await asyncio.sleep(0)  # the launch sets out before the answer: it takes longer
        try:
            await join(living, socket, headers=[(KEEP_HEADER.encode(), json_bytes(created))])
        finally:
            living.keep.end(TENANT_LEFT)  # also where the tenant left before it was answered

    async def _create(self, wanted: KeepRequest, owner: str) -> tuple[LivingKeep, dict[str, object]]:
        """A keep that is being launched, and what its tenant is told of it. Raises ``Refused``."""
        host = self._host
        tee = host.tees.require(wanted.tee)
        if wanted.image not in host.images.names:
            raise Refused(
                422,
                "image",
                "the host has no such image",
                found=wanted.image,
                required=", ".join(host.images.names),
            )
        # Limits first: laying out an image for another size of memory is work.
        host.keeps.check_limits(wanted.memory, owner, tee)
        about_machine = await host.tees.of_new_keep(tee.kind)
        living = self._start(wanted, owner, tee)  # looks at the limits again: time has passed
        return living, {**_described(living), **about_machine}

    def _start(self, wanted: KeepRequest, owner: str, tee: Tee) -> LivingKeep:
        image = self._host.images.prepare(wanted.memory, tee.kind)
        order = LaunchOrder(
            regions=image.regions,
            vmsa=image.vmsa,
            memory=wanted.memory,
            policy=DEFAULT_GUEST_POLICY if wanted.policy is None else wanted.policy,
            host_data=wanted.tenant_key_digest,
            nonce=wanted.nonce,
            tenant_key_digest=wanted.tenant_key_digest,
            tsc_khz=self._host.tsc_khz,
            tee=tee.kind,
        )
        return self._host.keeps.create(
            order,
            tee,
            owner=owner,
            image=wanted.image,
            image_kind=image.kind,
            image_sha256=image.sha256.hex(),
        )

    async def list_keeps(self, request: Request) -> Response:
        keeps = self._host.keeps.of(owner_in(request.scope))
        return json_response({"keeps": [_described(living) for living in keeps]})

    async def show_keep(self, request: Request) -> Response:
        return json_response(_described(self._find(request)))

    async def stop_keep(self, request: Request) -> Response:
        found = self._find(request)
        if isinstance(found, LivingKeep):
            found.keep.end(STOPPED)
            await found.keep.ended()
        return Response(status_code=204)

    def _find(self, request: Request) -> LivingKeep | EndedKeep:
        return self._host.keeps.get(request.path_params["keep"], owner_in(request.scope))

    async def session(self, socket: WebSocket) -> None:
        try:
            await serve_session(self._host.keeps, socket, socket.path_params["keep"], owner_in(socket.scope))
        except Refused as refused:
            await refuse(refused, socket.scope, socket.receive, socket.send)

    async def cert_chain(self, request: Request) -> Response:
        return await self._endorsement(
            CertChain, lambda: CertChain(Product.named(request.path_params["product"]))
        )

    async def crl(self, request: Request) -> Response:
        return await self._endorsement(Crl, lambda: Crl(Product.named(request.path_params["product"])))

    async def vcek(self, request: Request) -> Response:
        names = request.path_params
        query = request.query_params.multi_items()
        return await self._endorsement(
            Vcek, lambda: Vcek.of_request(Product.named(names["product"]), names["hwid"], query)
        )

    async def cek(self, request: Request) -> Response:
        return await self._endorsement(Cek, lambda: Cek.of_request(request.path_params["chip"]))

    async def sev_ca(self, request: Request) -> Response:
        return await self._endorsement(SevCa, lambda: SevCa(SevProduct.named(request.path_params["product"])))

    async def sev_certificates(self, _: Request) -> Response:
        if not self._host.tees.pre_attested:
            raise Refused(404, "tee", "the host serves neither SEV nor SEV-ES")
        try:
            return json_response(await self._host.sev_certificates.current())
        except EndorsementMissing as missing:
            raise _endorsement_refused(missing.document, missing.error) from None

    async def _endorsement(self, kind: type[Document], named: Callable[[], Document]) -> Response:
        try:
            document = named()
            body = await self._host.endorsements.fetch(document)
        except WasmkeepError as error:
            raise _endorsement_refused(kind, error) from None
        headers = {"Cache-Control": f"private, max-age={_ENDORSEMENT_AGE[kind]}"}
        return Response(body, headers=headers, media_type=document.media_type)


def _endorsement_refused(kind: type[Document], error: WasmkeepError) -> Refused:
    status, message = _ENDORSEMENT_REFUSALS.get(error.check, _ENDORSEMENT_FAILURE)
    if error.check in _MISSING:
        status, message = 404, _MISSING_WORDS[kind]
    if status >= 500:
        log.warning("endorsements: %s (%s)", error.message, error.found)
    return Refused(status, error.check.replace(".", "_"), message)


def _described(found: LivingKeep | EndedKeep) -> dict[str, object]:
    if isinstance(found, EndedKeep):
        ending = {"code": found.ending.code, "reason": found.ending.reason}
        return {"id": found.identifier, "state": "ended", "ending": ending}
    return {
        "id": found.keep.identifier,
        "state": found.keep.state,
        "tee": found.tee,
        "image": {"name": found.image, "kind": found.image_kind, "sha256": found.image_sha256},
        "memory": found.memory,
    }
