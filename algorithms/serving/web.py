"""The face of the active party's service over HTTP: who calls, what the body says, what is logged.

    POST /predict           scores            GET /healthz        is it up, and are the passive parties
    GET  /models            what is served    GET /metrics        for Prometheus
    POST /admin/activate    switch            GET /openapi.json   the same in OpenAPI
    POST /admin/rollback    switch back       GET /docs           and as a page
    POST /admin/reload      read files again

All but /healthz, /openapi.json and /docs need a token. Every request to /predict and /admin is in the audit
log, with what became of it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from hecore.algorithms.built import built
from hecore.algorithms.serving.active import ActiveService, Reply
from hecore.algorithms.serving.callers import Caller
from hecore.algorithms.serving.messages import MAX_ID_BYTES
from hecore.algorithms.serving.metrics import MEDIA_TYPE
from hecore.algorithms.serving.openapi import document, page
from hecore.algorithms.serving.refusals import Refusal
from hecore.errors import HecoreError

log = logging.getLogger(__name__)

T = TypeVar("T")
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_BYTES)]
Prefix = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{4,64}\Z")]
Endpoint = Callable[[Request], Awaitable[Response]]
#: Refusals of unknown callers that are logged a second; the rest is counted.
UNKNOWN_CALLERS = 5


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An id with the active party's features by column, null where missing."""

    id: Id
    features: dict[str, float | str | None]


class Predict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /predict: ids, or rows with features; the active model unless another is named."""

    ids: list[Id] | None = None
    rows: list[Row] | None = None
    model: Prefix | None = None


class Activate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /admin/activate: the model's id, or its beginning."""

    model: Prefix


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An empty body, or {}."""


class Web:
    """The application over a service; `app` is what uvicorn runs."""

    def __init__(self, service: ActiveService) -> None:
        self.service = service
        self._unknown = (0, 0)  # the second, and refusals in it
        routes = [
            Route("/predict", self._counted(self._predict), methods=["POST"]),
            Route("/models", self._counted(self._models), methods=["GET"]),
            Route("/metrics", self._counted(self._metrics), methods=["GET"]),
            Route("/healthz", self._health, methods=["GET"]),
            Route("/admin/activate", self._counted(self._activate), methods=["POST"]),
            Route("/admin/rollback", self._counted(self._roll_back), methods=["POST"]),
            Route("/admin/reload", self._counted(self._reload), methods=["POST"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
            Route("/docs", self._docs, methods=["GET"]),
        ]
        self.app = Starlette(routes=routes, exception_handlers={HTTPException: self._no_such})

    # --- scores ------------------------------------------------------------------------------------

    async def _predict(self, request: Request) -> Response:
        name, caller = self._caller(request)
        began = time.monotonic()
        ids: list[str] = []
        try:
            body = await self._body(request, Predict)
            ids = self._ids(body)
            if body.rows is not None and not caller.features:
                raise Refusal(403, "features_not_allowed", "this caller may send ids, and no features")
            features = None if body.rows is None else [row.features for row in body.rows]
            reply = await self.service.predict(name, body.model, ids, features)
        except Refusal as refusal:
            self._audit("refused", caller=name, code=refusal.code, rows=len(ids), ids=ids)
            raise
        seconds = time.monotonic() - began
        self._audit(
            "scored",
            caller=name,
            model=reply.model,
            rows=len(ids),
            missing=reply.missing or None,
            own_features=features is not None,
            ms=round(1000 * seconds, 1),
            ids=ids,
        )
        self.service.metrics.seconds.observe(seconds)
        self.service.metrics.rows.labels(complete=str(not reply.missing).lower()).inc(len(ids))
        return _json(_body(ids, reply))

    def _ids(self, body: Predict) -> list[str]:
        if (body.ids is None) == (body.rows is None):
            raise Refusal(422, "ids_or_rows", "either `ids` or `rows` is needed")
        ids = body.ids if body.ids is not None else [row.id for row in body.rows or ()]
        most = self.service.settings.http.max_rows
        if len(ids) > most:
            raise Refusal(413, "too_many_rows", f"{len(ids)} rows: at most {most} in a request")
        if not ids:
            raise Refusal(422, "no_rows", "there is no row to score")
        return ids

    # --- the rest ----------------------------------------------------------------------------------

    async def _models(self, request: Request) -> Response:
        self._caller(request)
        service = self.service
        models = []
        for model, whole in service.loaded.wholes.items():
            ready, why = service.ready(whole)
            models.append(
                {
                    "model": model,
                    "active": model == service.choice.active,
                    "ready": ready,
                    "why_not": why or None,
                    "columns": list(whole.columns),
                }
            )
        return _json({"models": models})

    async def _metrics(self, request: Request) -> Response:
        self._caller(request)
        metrics = self.service.metrics
        for name in self.service.peers.names:
            metrics.peers.labels(peer=name).set(self.service.peers.there(name))
        metrics.active.clear()  # models come and go
        for model in self.service.loaded.wholes:
            metrics.active.labels(model=model).set(model == self.service.choice.active)
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    async def _health(self, request: Request) -> Response:
        peers = self.service.peers
        away = [name for name in peers.names if not peers.there(name)]
        failed = away and self.service.settings.scores.when_down == "error"
        return _json({"status": "degraded" if away else "ok", "away": away}, 503 if failed else 200)

    async def _openapi(self, request: Request) -> Response:
        return _json(document(self.service.settings))

    async def _docs(self, request: Request) -> Response:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(page(document(self.service.settings)), headers=headers)

    async def _activate(self, request: Request) -> Response:
        return await self._administer(request, "activate", Activate)

    async def _roll_back(self, request: Request) -> Response:
        return await self._administer(request, "rollback", Nothing)

    async def _reload(self, request: Request) -> Response:
        return await self._administer(request, "reload", Nothing)

    async def _administer(self, request: Request, what: str, kind: type[T]) -> Response:
        name, caller = self._caller(request)
        try:
            if not caller.admin:
                raise Refusal(403, "not_admin", f"{name} may not administer")
            body = await self._body(request, kind)
            if isinstance(body, Activate):
                self.service.activate(body.model)
            elif what == "rollback":
                self.service.roll_back()
            else:
                await self._reread()
        except Refusal as refusal:
            self._audit("admin refused", caller=name, action=what, code=refusal.code)
            raise
        self._audit("admin", caller=name, action=what, model=self.service.choice.active)
        return _json({"active": self.service.choice.active})

    async def _reread(self) -> None:
        try:
            await self.service.reload()
        except (HecoreError, OSError) as error:
            raise Refusal(409, "reload_failed", f"what was there goes on: {error}") from None

    # --- pieces ------------------------------------------------------------------------------------

    def _counted(self, endpoint: Endpoint) -> Endpoint:
        """Refusals become answers, and all answers are counted. A log that cannot be written ends in 503."""

        async def run(request: Request) -> Response:
            try:
                response = await endpoint(request)
            except Refusal as refusal:
                self.service.metrics.refused.labels(code=refusal.code).inc()
                response = _refused(refusal)
            except ClientDisconnect:
                response = Response(status_code=400)
            except OSError as error:
                log.error("the audit log cannot be written, so nothing is answered: %s", error)
                response = _refused(Refusal(503, "audit_failed", "the service cannot keep its records"))
            except Exception:  # a fault of this program: the caller learns no more than that
                log.exception("%s %s failed", request.method, request.url.path)
                response = _refused(Refusal(500, "internal", "the service failed; its log says why"))
            self.service.metrics.requests.labels(path=request.url.path, status=response.status_code).inc()
            return response

        return run

    def _caller(self, request: Request) -> tuple[str, Caller]:
        """Who calls. Raises Refusal for a token that is missing or not known."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        callers = self.service.loaded.callers
        name = callers.find(token.strip()) if kind.lower() == "bearer" and token else None
        if name is None:
            self._unauthorised(request)
            raise Refusal(
                401, "unauthorised", "a header `Authorization: Bearer TOKEN` with a known token is needed"
            )
        return name, callers.callers[name]

    def _unauthorised(self, request: Request) -> None:
        """Log it, but not so often that strangers fill the disk."""
        second, count = self._unknown
        now = int(time.monotonic())
        self._unknown = (now, count + 1 if now == second else 1)
        if self._unknown[1] <= UNKNOWN_CALLERS:
            address = request.client.host if request.client else None
            self._audit("refused", code="unauthorised", address=address, path=request.url.path)

    async def _body(self, request: Request, kind: type[T]) -> T:
        most = self.service.settings.http.max_body
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > most:
                raise Refusal(413, "body_too_large", f"the body has more than {most} bytes")
        if kind is Nothing and not data:
            data += b"{}"
        try:
            return msgspec.json.decode(bytes(data), type=built(kind))
        except msgspec.ValidationError as error:
            raise Refusal(422, "wrong_body", str(error)) from None
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise Refusal(400, "malformed_json", f"the body is no JSON: {error}") from None

    def _audit(self, event: str, **fields: Any) -> None:
        self.service.audit.write(event, **fields)

    async def _no_such(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        code = {404: "no_such_path", 405: "wrong_method"}.get(status, "http")
        return _refused(Refusal(status, code, f"{request.method} {request.url.path}: see /docs"))


def _body(ids: list[str], reply: Reply) -> Mapping[str, Any]:
    """The answer of /predict."""
    scores = reply.scores.tolist()
    answer: dict[str, Any] = {
        "model": reply.model,
        "complete": not reply.missing,
        "scores": [{"id": text, "score": score} for text, score in zip(ids, scores, strict=True)],
    }
    if reply.missing:
        answer["missing"] = reply.missing
    return answer


def _refused(refusal: Refusal) -> Response:
    response = _json(refusal.body(), refusal.status)
    if refusal.retry_after is not None and math.isfinite(refusal.retry_after):
        response.headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_after)))
    if refusal.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
