"""The interface of the active party's service as an OpenAPI document, and as a page that needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import msgspec

import hecore
from hecore.algorithms.serving.settings import Settings

Json = dict[str, Any]


def document(settings: Settings) -> Json:
    """OpenAPI 3.1, with the limits that are set."""
    http, scores = settings.http, settings.scores
    predict = _operation(
        "Score rows",
        f"Either `ids`, or `rows` with the active party's own features where the caller may send them; at"
        f" most {http.max_rows} rows. Probabilities are rounded to {scores.probability_step:g}, other"
        f" predictions to {scores.digits} digits. `complete` is false where a passive party is not in the"
        " scores; `missing` names it.",
        _schema("Predict"),
        _schema("Scores"),
        ("400", "401", "403", "404", "413", "422", "429", "502", "503", "504"),
    )
    admin = ("401", "403", "404", "409", "422")
    paths = {
        "/predict": {"post": predict},
        "/models": {"get": _operation("Models and which is active", "", None, _schema("Models"), ("401",))},
        "/metrics": {
            "get": _operation("Figures for Prometheus", "In its text format.", None, None, ("401",))
        },
        "/healthz": {
            "get": _operation(
                "Is it up", "503 while a passive party is away.", None, None, ("503",), free=True
            )
        },
        "/admin/activate": {
            "post": _operation("Make a model active", "", _schema("Activate"), _schema("Active"), admin)
        },
        "/admin/rollback": {
            "post": _operation("Go back to the model before", "", None, _schema("Active"), admin)
        },
        "/admin/reload": {
            "post": _operation(
                "Read shares, features and tokens again",
                "What was there goes on where that fails.",
                None,
                _schema("Active"),
                admin,
            )
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hecore joint serving",
            "version": hecore.__version__,
            "description": "Scores of a model whose parts lie with several parties.",
        },
        "paths": paths,
        "security": [{"token": []}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _SCHEMAS,
        },
    }


def page(spec: Mapping[str, Any]) -> str:
    """The document as one HTML page: no script, nothing from elsewhere."""
    info = spec["info"]
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
    ]
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            parts += _section(path, method, operation)
    parts.append("<h2>Records</h2>")
    for name, schema in spec["components"]["schemas"].items():
        text = msgspec.json.format(msgspec.json.encode(schema)).decode()
        parts.append(f'<h3 id="{escape(name)}">{escape(name)}</h3><pre>{escape(text)}</pre>')
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<main>{body}</main></html>"
    )


def _section(path: str, method: str, operation: Json) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2><p><b>{escape(operation['summary'])}.</b>"
    yield f" {escape(operation['description'])}</p>"
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
        yield f'<p>Body: <a href="#{escape(name)}">{escape(name)}</a></p>'
    rows = (
        f"<tr><td>{status}</td><td>{escape(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    yield f"<table>{''.join(rows)}</table>"


def _operation(
    summary: str,
    description: str,
    body: Json | None,
    answer: Json | None,
    errors: tuple[str, ...],
    *,
    free: bool = False,
) -> Json:
    good: Json = {"description": "done"}
    if answer is not None:
        good["content"] = {"application/json": {"schema": answer}}
    failed = {"application/json": {"schema": _schema("Error")}}
    out: Json = {
        "summary": summary,
        "description": description,
        "responses": {"200": good}
        | {status: {"description": _ERRORS[status], "content": failed} for status in errors},
    }
    if body is not None:
        out["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if free:
        out["security"] = []
    return out


def _schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: tuple[str, ...] = (), **properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "number"}
_TEXTS: Json = {"type": "array", "items": _TEXT}
_SCHEMAS: Json = {
    "Predict": _object(
        ids=_TEXTS,
        rows={
            "type": "array",
            "items": _object(
                ("id", "features"),
                id=_TEXT,
                features={"type": "object", "additionalProperties": {"type": ["number", "string", "null"]}},
            ),
        },
        model={
            "type": "string",
            "description": "the id of a model, or its beginning; the active one if absent",
        },
    ),
    "Scores": _object(
        ("model", "complete", "scores"),
        model=_TEXT,
        complete={"type": "boolean"},
        missing=_TEXTS,
        scores={
            "type": "array",
            "items": _object(
                ("id", "score"), id=_TEXT, score={"anyOf": [_NUMBER, {"type": "array", "items": _NUMBER}]}
            ),
        },
    ),
    "Models": _object(("models",), models={"type": "array", "items": {"type": "object"}}),
    "Activate": _object(("model",), model=_TEXT),
    "Active": _object(("active",), active=_TEXT),
    "Error": _object(("error",), error=_object(("code", "message"), code=_TEXT, message=_TEXT, ids=_TEXTS)),
}
_ERRORS = {
    "400": "the body is no JSON",
    "401": "no token, or none that is known",
    "403": "the caller may not do this",
    "404": "an id or a model is not known",
    "409": "it cannot be done now; the text says why",
    "413": "too many rows, or too large a body",
    "422": "JSON of another form, or other columns than the model has",
    "429": "a limit is reached; Retry-After says when to ask again",
    "502": "a passive party gave an answer that does not fit",
    "503": "a passive party is away, or too much is waiting",
    "504": "not answered in time",
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem;color:#222}main{max-width:50rem;margin:auto}"
    "pre{background:#f4f4f4;padding:1rem;overflow:auto;font-size:13px}"
    "td{padding:.1rem 1rem .1rem 0;vertical-align:top}"
    "h2{border-top:1px solid #ddd;padding-top:1rem}"
)
