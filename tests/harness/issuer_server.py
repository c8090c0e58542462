"""An OpenID provider as a process of its own: idpyoidc's, with its own discovery document, key jar and JWTs.

`python -m tests.harness.issuer_server PORT`. What a real one decides for itself, tests ask for under /test: which token
is issued, when keys rotate. What it was asked on its public routes is counted.
"""

import json
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptojwt.jwt import JWT
from cryptojwt.key_jar import build_keyjar
from idpyoidc.server import Server
from idpyoidc.server.configure import OPConfiguration

KEYS = [{"type": "RSA", "use": ["sig"]}, {"type": "EC", "crv": "P-256", "use": ["sig"]}]
DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/jwks.json"


def provider(issuer: str) -> Server:
    """The provider, with as little as it starts with."""
    secrets = {"key_defs": [{"type": "OCT", "use": ["enc"], "kid": name} for name in ("password", "salt")]}
    configuration = {
        "issuer": issuer,
        "key_conf": {"key_defs": KEYS, "uri_path": JWKS.lstrip("/")},
        "token_handler_args": {
            "jwks_defs": {"key_defs": [{"type": "oct", "bytes": 24, "use": ["enc"], "kid": "code"}]}
        },
        "endpoint": {
            "provider_config": {
                "path": DISCOVERY.lstrip("/"),
                "class": "idpyoidc.server.oidc.provider_config.ProviderConfiguration",
            }
        },
        "session_params": {"encrypter": {"kwargs": {"keys": secrets, "iterations": 1}}},
    }
    return Server(OPConfiguration(conf=configuration, base_path=".", domain="127.0.0.1"))


class Issuer:
    """The provider and what tests ask of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.server = provider(url)
        self.asked: Counter[str] = Counter()
        self.signing = signing(self.server.keyjar[""])

    def get(self, path: str) -> Any:
        self.asked[path] += 1
        if path == DISCOVERY:
            return self.server.get_endpoint("provider_config").process_request({})["response_args"]
        if path == JWKS:
            return json.loads(self.server.keyjar.export_jwks_as_json(""))
        return None

    def post(self, path: str, sent: dict[str, Any]) -> Any:
        match path:
            case "/test/issue":
                alg = sent.get("alg", "RS256")
                jwt = JWT(self.server.keyjar, iss=self.url, lifetime=sent.get("lifetime", 600), sign_alg=alg)
                kid = sent.get("kid") or self.signing["EC" if alg.startswith("ES") else "RSA"]
                headers = {"kid": kid} | ({"typ": sent["typ"]} if sent.get("typ") else {})
                return jwt.pack(sent["claims"], kid=kid, aud=sent["aud"], iat=sent.get("iat"), jws_headers=headers)
            case "/test/rotate":
                self.rotate(withdraw=sent["withdraw"])
                return self.signing
            case "/test/asked":
                return dict(self.asked)
        return None

    def rotate(self, *, withdraw: bool) -> None:
        """New keys sign from now on; the old ones stay published, unless they are withdrawn."""
        jar = self.server.keyjar
        own, fresh = jar[""], build_keyjar(KEYS)[""]
        if withdraw:
            own.mark_all_keys_as_inactive()
        for bundle in fresh.get_bundles():
            own.add_kb(bundle)
        jar[""], self.signing = own, signing(fresh)


def signing(keys: Any) -> dict[str, str]:
    """The id of the key of each type."""
    return {key.kty: key.kid for key in keys.all_keys()}


def handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(issuer.get(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.answer(issuer.post(self.path, json.loads(body)))

        def answer(self, found: Any) -> None:
            content = json.dumps(found, default=str).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the library has
            pass

    return Handler


def main() -> None:
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), BaseHTTPRequestHandler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        server.RequestHandlerClass = handler(Issuer(url))
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
