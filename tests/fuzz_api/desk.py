"""A desktop signed in at the simulated platform: its tokens, its key, and a fresh proof a request."""

import hashlib
import os
import pathlib
import time
import tomllib
import uuid

import requests
from jwcrypto import jwk

from signing import b64, sign

# With the base path.
SERVICE = os.environ["BACKOFFICE_URL"]
SIMULATOR = os.environ["SIMULATOR_URL"]
POLICY = pathlib.Path(__file__).parents[2] / "src/access/policy.toml"
# Every scope of the service is one of these roles'.
ALL_ROLES = list(tomllib.loads(POLICY.read_text())["roles"])
RENEW_SECONDS_BEFORE_EXPIRY = 60
TIMEOUT_SECONDS = 20
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

# The platform's side; never the environment's proxies.
platform = requests.Session()
platform.trust_env = False


def ulid() -> str:
    """A new one: 48 bits of the time in milliseconds, 80 of chance, in upper case."""
    number = int(time.time() * 1000) << 80 | int.from_bytes(os.urandom(10))
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


class Desk:
    """One device and one operator with these roles; signs in again before its token expires."""

    def __init__(self, tenant_id: str, roles: list[str] = ALL_ROLES):
        self.tenant_id, self.roles = tenant_id, roles
        self.nonce = None
        self.sign_in()

    def sign_in(self) -> None:
        self.key = jwk.JWK.generate(kty="EC", crv="P-256")
        wish = {
            "tenantId": self.tenant_id,
            "deviceJwk": self.key.export_public(as_dict=True),
            "roles": self.roles,
        }
        answer = platform.post(f"{SIMULATOR}/sim/sign-in", json=wish, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        self.grant = answer.json()
        self.renew_at = time.monotonic() + self.grant["expiresIn"] - RENEW_SECONDS_BEFORE_EXPIRY

    def renewed(self) -> "Desk":
        if self.renew_at < time.monotonic():
            self.sign_in()
        return self

    def proof(self, method: str, url: str, token: str | None) -> str:
        claims = {
            "jti": str(uuid.uuid4()),
            "htm": method,
            "htu": url.split("?")[0].split("#")[0],
            "iat": int(time.time()),
        }
        if token is not None:
            claims["ath"] = b64(hashlib.sha256(token.encode()).digest())
        if self.nonce is not None:
            claims["nonce"] = self.nonce
        header = {"typ": "dpop+jwt", "jwk": self.key.export_public(as_dict=True)}
        return sign(self.key, header, claims, "ES256")

    def sign_request(self, request: requests.PreparedRequest, with_token: bool = True) -> None:
        """Puts the headers on that make the request this desktop's. Those that are on it stay, but
        for the credentials."""
        token = self.grant["accessToken"] if with_token else None
        if token is not None:
            request.headers["Authorization"] = f"DPoP {token}"
        request.headers["DPoP"] = self.proof(request.method, request.url, token)
        request.headers["X-Device-Id"] = self.grant["deviceId"]
        for name, value in [
            ("X-App-Version", "1.4.2"),
            ("X-App-Platform", "linux"),
            ("X-Network-Mode", "good"),
        ]:
            request.headers.setdefault(name, value)

    def take_nonce(self, answer: requests.Response) -> None:
        self.nonce = answer.headers.get("DPoP-Nonce", self.nonce)

    def ask(self, method: str, path: str, body: dict, **headers: str) -> dict:
        """Has the service do something that a later request needs. Fails unless it does."""
        named = {"X-Idempotency-Key": ulid(), **headers}
        answer = requests.request(
            method, SERVICE + path, json=body, headers=named, auth=Proofs(self), timeout=TIMEOUT_SECONDS
        )
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()


class Proofs(requests.auth.AuthBase):
    """Signs requests as they go out, and once more when the service asks for a nonce."""

    def __init__(self, desk: Desk, with_token: bool = True):
        self.desk, self.with_token = desk, with_token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self.desk.sign_request(request, self.with_token)
        request.register_hook("response", self.once_more)
        return request

    def once_more(self, answer: requests.Response, **sending) -> requests.Response:
        self.desk.take_nonce(answer)
        challenge = answer.headers.get("WWW-Authenticate", "")
        if answer.status_code != 401 or 'error="use_dpop_nonce"' not in challenge:
            return answer
        # The connection is free for the repetition when the refusal was read.
        _ = answer.content
        answer.close()
        request = answer.request.copy()
        request.deregister_hook("response", self.once_more)
        self.desk.sign_request(request, self.with_token)
        repeated = answer.connection.send(request, **sending)
        repeated.history.append(answer)
        repeated.request = request
        self.desk.take_nonce(repeated)
        return repeated
