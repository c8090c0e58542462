"""The routes of the data plane, as one table: what is not in it leads nowhere.

A `ModelCall` is governed and is the only kind that can cost money. Everything else is free. What callers can ask
beside calls ("caller") stands behind this door and is answered by whoever `app.py` gives to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import Kind, StoredObject
from comptroller.flow.dialect import Dialect
from comptroller.flow.models import Reachable
from comptroller.gateway.query import has_key


@dataclass(frozen=True)
class Api:
    """A family of APIs. The first of several is meant where nothing tells them apart."""

    family: str
    paths: tuple[str, ...]  # what begins so is its own
    header: bytes | None  # on a path of several, or of none, a request with a header that begins so is its own
    dialect: Dialect  # says refusals where no call is made
    model_page: Callable[[Sequence[Reachable]], bytes]
    model_entry: Callable[[Reachable], bytes]
    versions: tuple[str, ...] = ("v1",)  # of the API: its lists of models stand below each
    object_page: Callable[[Sequence[StoredObject], bytes], bytes | Refusal] | None = None  # a list of them, and a query
    key_in_query: bool = False  # a credential may stand there, and tells the API as its header does

    def claims(self, names: Iterable[bytes], query: bytes) -> bool:
        """Whether a request on a path of several APIs is one of this, by what else it says."""
        if self.header is None:
            return False
        return any(name.startswith(self.header) for name in names) or (self.key_in_query and has_key(query))


@dataclass(frozen=True)
class ModelCall:
    """Governed, from the first header to the settled end."""

    dialect: Dialect


@dataclass(frozen=True)
class ObjectList:
    """What of a kind is the caller's, as our records know it: nothing is asked of a provider."""

    kind: Kind


Free = Literal["models", "model", "hello", "healthy", "ready", "caller"]
Target = ModelCall | ObjectList | Free | Literal["tools"]
NAME = "{name}"  # in a path: what a request names there; with slashes in it only at the end of the path
CALLER_PATHS = ("/oauth/", "/.well-known/", "/comptroller/")  # all of it is the caller API's to answer
NO_LISTS: Mapping[str, Kind] = {}
OTHERWISE = "*"  # among methods: any that the path does not take


class Found(NamedTuple):
    """Where a request leads. `methods` are those that its path takes; none if there is no such path."""

    target: Target | None
    methods: tuple[str, ...] = ()
    name: str = ""


class _Named(NamedTuple):
    """A path with a name in it."""

    before: str
    after: str
    by_method: Mapping[str, Found]

    def name_in(self, path: str) -> str:
        """What a path names; empty if it is not of this form."""
        if not (path.startswith(self.before) and path.endswith(self.after)):
            return ""
        name = path[len(self.before) : len(path) - len(self.after)]
        return "" if self.after and "/" in name else name


_CALLER = Found("caller")


class Routes:
    """Finds the target of a path and a method."""

    def __init__(
        self,
        calls: Mapping[str, Dialect],
        apis: Sequence[Api],
        caller: Sequence[tuple[str, str]] = (),
        lists: Mapping[str, Kind] = NO_LISTS,
        shared: tuple[str, ...] = (),
    ) -> None:
        """`calls`: by path, with a method before it that is not POST. `lists`: of objects, by path.
        `shared`: how paths begin that several APIs have.

        `caller`: (method, path) of every route of the caller API; what is in braces is a name.
        """
        self.apis = tuple(apis)
        self._shared = shared
        self.keys_in_query = frozenset(api.family for api in apis if api.key_in_query)
        free: dict[str, dict[str, Target]] = {
            "/": {"HEAD": "hello"},  # what coding agents ask before anything else
            "/api/hello": {"HEAD": "hello"},
            "/healthz": {"GET": "healthy"},
            "/readyz": {"GET": "ready"},
            f"/mcp/{NAME}": dict.fromkeys(("POST", "GET", "DELETE"), "tools"),  # an MCP server, by its name
        }
        for api in apis:
            for version in api.versions:
                for prefix in ("", f"/{api.family}"):
                    free[f"{prefix}/{version}/models"] = {"GET": "models"}
                    free[f"{prefix}/{version}/models/{NAME}"] = {"GET": "model"}
        beside: dict[str, dict[str, Target]] = {}
        for method, path in caller:
            if not path.startswith(CALLER_PATHS):
                raise ValueError(f"{path} is not where the caller API is: {CALLER_PATHS}")
            beside.setdefault(path, {})[method] = "caller"
        ours = free
        for path, kind in lists.items():
            ours[path] = {"GET": ObjectList(kind)}
        for call, dialect in calls.items():
            method, _, path = call.rpartition(" ")
            ours.setdefault(path, {})[method or "POST"] = ModelCall(dialect)
        self._found = {path: _found(targets) for path, targets in ours.items() if NAME not in path}
        self._named = [_named(path, targets) for path, targets in ours.items() if NAME in path]
        self._named.sort(key=lambda named: -len(named.after))  # the closer description first
        self.table: Mapping[str, Mapping[str, Target]] = {**ours, **beside}

    def find(self, method: str, path: str) -> Found:
        """Where a request leads."""
        by_method = self._found.get(path)
        if by_method is not None:
            return by_method.get(method) or by_method[OTHERWISE]
        if path.startswith(CALLER_PATHS):
            return _CALLER
        for named in self._named:
            name = named.name_in(path)
            if name:
                found = named.by_method.get(method) or named.by_method[OTHERWISE]
                if found.target is None and not named.after and ":" in name:
                    continue  # a method of the model that is not routed: there is no such way
                return Found(found.target, found.methods, name)
        return Found(None)

    def meant(self, path: str, headers: Sequence[tuple[bytes, bytes]], query: bytes) -> str:
        """The path as it says plainly whose it is, where several APIs have the same; any other as it is."""
        if not self._shared or not path.startswith(self._shared):
            return path
        api = self.api_of(path, headers, query)
        return path if api is self.apis[0] else f"/{api.family}{path}"

    def api_of(self, path: str, headers: Sequence[tuple[bytes, bytes]], query: bytes) -> Api:
        """Whose words a request is to be answered in."""
        for api in self.apis:
            if path.startswith(api.paths):
                return api
        names = [name for name, _ in headers]
        return next((api for api in self.apis if api.claims(names, query)), self.apis[0])


def _named(path: str, targets: Mapping[str, Target]) -> _Named:
    before, _, after = path.partition(NAME)
    return _Named(before, after, _found(targets))


def _found(targets: Mapping[str, Target]) -> Mapping[str, Found]:
    """What is found on a path, by method."""
    # A call to where a greeting is answered is a wrong base URL: there is no such route.
    methods = () if "hello" in targets.values() else tuple(targets)
    return {method: Found(target, methods) for method, target in targets.items()} | {OTHERWISE: Found(None, methods)}
