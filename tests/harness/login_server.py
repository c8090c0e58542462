"""An OpenID provider that people log in at, as a process of its own: Authlib's authorization server.

`python -m tests.harness.login_server PORT`. Authlib speaks the device flow, the code flow with PKCE, refresh,
revocation and `iss`; here it gets a place to remember things in. What a person would do in a browser, tests ask for
under /test.
"""

import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Payload, OAuth2Request, grants
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant
from authlib.oauth2.rfc9207 import IssuerParameter
from authlib.oidc.core.grants import OpenIDCode
from authlib.oidc.core.grants.code import OpenIDToken
from joserfc.jwk import RSAKey

CLIENT_ID = "comptroller-cli"
DISCOVERY = "/.well-known/openid-configuration"
SCOPES = ["openid", "email", "offline_access"]
KEY = RSAKey.generate_key(2048, {"use": "sig", "kid": "people-1"})
SAID = {"authorization_response_iss_parameter_supported": True, "code_challenge_methods_supported": ["S256"]}


@dataclass
class Memory:
    """What the provider remembers, and what tests told it."""

    url: str = ""
    person: str | None = "ada"  # who sits at the browser; None: somebody who says no
    codes: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, Any] = field(default_factory=dict)
    typed: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)  # by refresh token
    slow: int = 0  # how many polls are told to slow down
    other_issuer: str = ""  # what `iss` says instead of the truth
    other_nonce: str = ""
    other_subject: str = ""  # whose ID token is given, whoever has logged in
    hidden: list[str] = field(default_factory=list)  # members of the discovery document that are left out
    asked: list[list[str]] = field(default_factory=list)
    interval: int = 1
    device_life_s: int = 600


MEMORY = Memory()


class Client:
    """One public client, which `comptroller login` is."""

    client_id = CLIENT_ID

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        return scope or ""

    def check_redirect_uri(self, uri: str) -> bool:
        at = urlsplit(uri)  # RFC 8252 section 7.3: any port
        return (at.scheme, at.hostname, at.path) == ("http", "127.0.0.1", "/callback")

    def check_client_secret(self, secret: str) -> bool:
        return False

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "none"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return True


@dataclass
class Code:
    redirect_uri: str
    scope: str
    person: str
    nonce: str
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return MEMORY.other_nonce or self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class CodeGrant(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = ["none"]

    def save_authorization_code(self, code: str, request: Any) -> None:
        data = request.payload.data
        challenge = data["code_challenge"], data["code_challenge_method"]
        scope = request.payload.scope
        MEMORY.codes[code] = Code(request.payload.redirect_uri, scope, request.user, data["nonce"], *challenge)

    def query_authorization_code(self, code: str, client: Any) -> Any:
        return MEMORY.codes.get(code)

    def delete_authorization_code(self, authorization_code: Any) -> None:
        MEMORY.codes = {name: each for name, each in MEMORY.codes.items() if each is not authorization_code}

    def authenticate_user(self, authorization_code: Any) -> str:
        return authorization_code.person


@dataclass
class Device:
    data: dict[str, Any]
    scope: str
    ends_s: float

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_scope(self) -> str:
        return self.scope

    def get_user_code(self) -> str:
        return self.data["user_code"]

    def is_expired(self) -> bool:
        return time.time() > self.ends_s


class DeviceEndpoint(DeviceAuthorizationEndpoint):
    CLIENT_AUTH_METHODS: ClassVar[list[str]] = ["none"]

    @property
    def INTERVAL(self) -> int:  # noqa: N802 - the name that the library has
        return MEMORY.interval

    @property
    def EXPIRES_IN(self) -> int:  # noqa: N802 - the name that the library has
        return MEMORY.device_life_s

    def get_verification_uri(self) -> str:
        return f"{MEMORY.url}/device"

    def save_device_credential(self, client_id: str, scope: str, data: dict[str, Any]) -> None:
        MEMORY.devices[data["device_code"]] = Device(data, scope, time.time() + data["expires_in"])


class DeviceGrant(DeviceCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = ["none"]

    def query_device_credential(self, device_code: str) -> Any:
        return MEMORY.devices.get(device_code)

    def query_user_grant(self, user_code: str) -> Any:
        return MEMORY.typed.get(user_code)

    def should_slow_down(self, credential: Any) -> bool:
        MEMORY.slow -= 1
        return MEMORY.slow >= 0


@dataclass
class Token:
    person: str
    scope: str
    refresh_token: str

    def check_client(self, client: Any) -> bool:
        return client.get_client_id() == CLIENT_ID

    def get_scope(self) -> str:
        return self.scope


class RefreshGrant(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS: ClassVar[list[str]] = ["none"]
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Any:
        return MEMORY.tokens.get(refresh_token)

    def authenticate_user(self, refresh_token: Any) -> str:
        return refresh_token.person

    def revoke_old_credential(self, refresh_token: Any) -> None:
        MEMORY.tokens.pop(refresh_token.refresh_token, None)


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS: ClassVar[list[str]] = ["none"]

    def query_token(self, token_string: str, token_type_hint: str) -> Any:
        return MEMORY.tokens.get(token_string)

    def revoke_token(self, token: Any, request: Any) -> None:
        MEMORY.tokens.pop(token.refresh_token, None)


class IdTokens(OpenIDToken):
    def resolve_client_private_key(self, client: Any) -> Any:
        return KEY

    def get_client_claims(self, client: Any) -> dict[str, Any]:
        return {"iss": MEMORY.url, "aud": [CLIENT_ID]}

    def get_encode_header(self, client: Any) -> dict[str, str]:
        return {"alg": "RS256", "kid": KEY.kid}

    def get_client_algorithm(self, client: Any) -> str:
        return "RS256"

    def generate_user_info(self, user: str, scope: str) -> dict[str, Any]:
        email = {"email": f"{user}@acme.example", "email_verified": True} if "email" in scope else {}
        return {"sub": MEMORY.other_subject or user} | email


class CodeIdTokens(IdTokens, OpenIDCode):
    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return False


class Issuer(IssuerParameter):
    def get_issuer(self) -> str:
        return MEMORY.other_issuer or MEMORY.url


class Payload(OAuth2Payload):
    def __init__(self, fields: dict[str, list[str]]) -> None:
        self._fields = fields

    @property
    def data(self) -> dict[str, str]:
        return {name: values[-1] for name, values in self._fields.items()}

    @property
    def datalist(self) -> Any:
        return defaultdict(list, self._fields)


class Request(OAuth2Request):
    def __init__(self, method: str, uri: str, form: dict[str, list[str]], headers: dict[str, str]) -> None:
        super().__init__(method, uri, headers=headers)
        self._args = {name: values[-1] for name, values in parse_qs(urlsplit(uri).query).items()}
        self._form = {name: values[-1] for name, values in form.items()}
        self.payload = Payload(parse_qs(urlsplit(uri).query) | form)

    @property
    def args(self) -> dict[str, str]:
        return self._args

    @property
    def form(self) -> dict[str, str]:
        return self._form


@dataclass
class Answer:
    status: int
    body: Any
    headers: list[tuple[str, str]]

    @property
    def location(self) -> str:
        return dict(self.headers).get("Location", "")

    @location.setter
    def location(self, url: str) -> None:
        self.headers = [(name, url if name == "Location" else value) for name, value in self.headers]


class Provider(AuthorizationServer):
    def __init__(self) -> None:
        super().__init__(SCOPES)
        lives = BearerTokenGenerator(lambda **_: f"a{time.time_ns()}", lambda **_: f"r{time.time_ns()}")
        self.register_token_generator("default", lives)
        self.register_grant(CodeGrant, [CodeIdTokens(require_nonce=True), CodeChallenge(required=True)])
        self.register_grant(DeviceGrant, [IdTokens()])
        self.register_grant(RefreshGrant, [IdTokens()])
        self.register_endpoint(DeviceEndpoint)
        self.register_endpoint(Revocation)
        Issuer()(self)

    def query_client(self, client_id: str) -> Client | None:
        return Client() if client_id == CLIENT_ID else None

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        if "offline_access" not in token["scope"].split():
            token.pop("refresh_token", None)
        elif "refresh_token" in token:
            kept = Token(request.user, token["scope"], token["refresh_token"])
            MEMORY.tokens[kept.refresh_token] = kept

    def create_oauth2_request(self, request: Any) -> Any:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> Answer:
        return Answer(status, body, list(headers))

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        pass


def discovery() -> dict[str, Any]:
    url = MEMORY.url
    whole = SAID | {
        "issuer": url,
        "jwks_uri": f"{url}/jwks.json",
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "device_authorization_endpoint": f"{url}/device_authorization",
        "revocation_endpoint": f"{url}/revoke",
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
    }
    return {name: value for name, value in whole.items() if name not in MEMORY.hidden}


def control(path: str, sent: dict[str, Any]) -> Any:
    """What tests ask for."""
    match path:
        case "/test/tell":
            for name, value in sent.items():
                setattr(MEMORY, name, value)
        case "/test/type":
            MEMORY.typed[sent["code"]] = (sent["person"], sent["yes"])
        case "/test/end":
            MEMORY.tokens.clear()
        case "/test/asked":
            asked, MEMORY.asked = MEMORY.asked, []
            return asked
        case "/test/refresh_tokens":
            return list(MEMORY.tokens)
    return {}


def answer(provider: Provider, request: Request, path: str) -> Answer:
    match path:
        case "/authorize":
            grant = provider.get_consent_grant(request, MEMORY.person)
            return provider.create_authorization_response(request, MEMORY.person, grant)
        case "/token":
            MEMORY.asked.append([path, request.form.get("grant_type", "")])
            return provider.create_token_response(request)
        case "/device_authorization":
            return provider.create_endpoint_response("device_authorization", request)
        case "/revoke":
            return provider.create_endpoint_response("revocation", request)
        case p if p == DISCOVERY:
            return Answer(200, discovery(), [])
        case "/jwks.json":
            return Answer(200, {"keys": [KEY.as_dict(private=False)]}, [])
    return Answer(404, {}, [])


def handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.act(b"")

        def do_POST(self) -> None:
            self.act(self.rfile.read(int(self.headers["content-length"])))

        def act(self, body: bytes) -> None:
            path = urlsplit(self.path).path
            if path.startswith("/test/"):
                said = Answer(200, control(path, json.loads(body)), [])
            else:
                form = parse_qs(body.decode())
                request = Request(self.command, MEMORY.url + self.path, form, dict(self.headers.items()))
                said = answer(provider, request, path)
            content = json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in said.headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the library has
            pass

    return Handler


def main() -> None:
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), handler(Provider())) as server:
        MEMORY.url = f"http://127.0.0.1:{server.server_port}"
        sys.stdout.write(f"{MEMORY.url}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
