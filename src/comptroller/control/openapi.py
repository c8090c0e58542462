"""The OpenAPI 3.1 document of the admin plane, made from its table of routes and the types that they read and answer.

Source: OpenAPI Specification 3.1.0, problem details RFC 9457.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from inspect import getdoc
from typing import Any

import msgspec

from comptroller.control.door import PROBLEM
from comptroller.control.problem import ProblemBody
from comptroller.control.route import JSON, Route

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_NAMES = re.compile(r"{(\w+)}")
_SCHEME = "adminCredential"

# What each route can answer beside its own: the door, the books, and our own faults.
_EVERYWHERE = (400, 401, 403, 429, 500, 503)
_WITH_BODY = (408, 413, 415)
_MEANINGS: Mapping[int, str] = {
    400: "The request is not as this document says.",
    401: "No credential was sent, or none of an admin.",
    403: "Not from this client, under this name, from this origin, with this credential, or in this role.",
    404: "There is none of this name.",
    408: "The body did not come in time.",
    409: "It does not fit the state of things now.",
    410: "It was pruned.",
    413: "The body is too long.",
    415: "The body is of another media type.",
    422: "It is understood and cannot be.",
    429: "Too many wrong credentials came from this address.",
    500: "The gateway failed on this request; its log says where.",
    503: "The books cannot be written.",
}


def document(routes: Sequence[Route], version: str) -> Json:
    """The document for these routes. `version` is the gateway's."""
    types = [ProblemBody, *(each for route in routes for each in _types(route))]
    made, components = msgspec.json.schema_components(types, ref_template=_REF)
    schemas = dict(zip(types, made, strict=True))
    queries = {route.takes.query.__name__ for route in routes}
    statuses = sorted({status for route in routes for status in _statuses(route)})
    paths: dict[str, Json] = {}
    for route in routes:
        operation = _operation(route, schemas, components)
        paths.setdefault(route.whole_path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Comptroller, the admin plane",
            "description": "What an operator does. Money is in USD as decimal strings, instants are RFC 3339 in UTC.",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "security": [{_SCHEME: []}],
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name not in queries},
            "responses": {_problem_name(status): _problem(status, schemas[ProblemBody]) for status in statuses},
            "securitySchemes": {
                _SCHEME: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A credential of an admin; until there is one, the bootstrap one, over loopback.",
                }
            },
        },
    }


def _types(route: Route) -> Sequence[Any]:
    takes = route.takes
    return [takes.query, takes.answer, *([takes.body] if takes.body is not None else [])]


def _operation(route: Route, schemas: Mapping[Any, Json], components: Mapping[str, Json]) -> Json:
    takes = route.takes
    body = {} if takes.body is None else {"requestBody": _content(JSON, schemas[takes.body]) | {"required": True}}
    summary = (getdoc(route.act) or "").partition("\n")[0]
    answered = {"description": summary} | _content(JSON, schemas[takes.answer])
    return {
        "operationId": route.act.__name__.strip("_"),
        "summary": summary,
        "x-least-role": " or ".join(route.roles) or "none",
        "parameters": [*_names(route), *_parameters(components[takes.query.__name__])],
        **body,
        **({"security": list[Json]()} if route.role is None else {}),
        "responses": {"200": answered} | {str(status): _refer(status) for status in _statuses(route)},
    }


def _names(route: Route) -> list[Json]:
    """The names in the path."""
    text = {"type": "string", "minLength": 1}
    return [{"name": name, "in": "path", "required": True, "schema": text} for name in _NAMES.findall(route.path)]


def _parameters(query: Json) -> list[Json]:
    """The fields of a query. A parameter that is left out is what null is in a body."""
    required = query.get("required", ())
    return [_parameter(name, schema, required=name in required) for name, schema in query["properties"].items()]


def _parameter(name: str, schema: Json, *, required: bool) -> Json:
    given = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if given:
        schema = given[0] if len(given) == 1 else {"anyOf": given}
    schema = dict(schema)
    described = {"description": schema.pop("description")} if "description" in schema else {}
    return {"name": name, "in": "query", "required": required, **described, "schema": schema}


def _statuses(route: Route) -> Sequence[int]:
    with_body = _WITH_BODY if route.takes.body is not None else ()
    return sorted({*_EVERYWHERE, *with_body, *route.problems})


def _refer(status: int) -> Json:
    return {"$ref": f"#/components/responses/{_problem_name(status)}"}


def _problem_name(status: int) -> str:
    return f"Problem{status}"


def _problem(status: int, schema: Json) -> Json:
    challenge = {"headers": {"WWW-Authenticate": {"schema": {"type": "string"}}}} if status == 401 else {}
    return {
        "description": f"{HTTPStatus(status).phrase}. {_MEANINGS[status]}",
        **challenge,
        **_content(PROBLEM, schema),
    }


def _content(media: str, schema: Json) -> Json:
    return {"content": {media: {"schema": schema}}}
