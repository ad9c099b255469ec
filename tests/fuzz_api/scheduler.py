"""The scheduler's account: its key pair, and identity tokens as Google signs them.

`python scheduler.py <folder>` makes the pair: `jwks.json` to be served, `key.json` to sign with.
"""

import json
import os
import sys
import time
from pathlib import Path

import requests
from jwcrypto import jwk

from signing import sign

ISSUER = "https://accounts.google.com"
LIFETIME_SECONDS = 3600


def make_keys(folder: Path) -> None:
    key = jwk.JWK.generate(kty="RSA", size=2048, kid="fuzz-api", use="sig", alg="RS256")
    (folder / "served").mkdir(parents=True, exist_ok=True)
    (folder / "key.json").write_text(key.export())
    published = {"keys": [key.export_public(as_dict=True)]}
    (folder / "served" / "jwks.json").write_text(json.dumps(published))


class IdentityToken(requests.auth.AuthBase):
    """A token of the account for the service under test."""

    def __init__(self, folder: Path, email: str, audience: str):
        self.key = jwk.JWK.from_json((folder / "key.json").read_text())
        self.email, self.audience = email, audience

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": self.audience,
            "sub": self.email,
            "email": self.email,
            "email_verified": True,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
        }
        token = sign(self.key, {"typ": "JWT", "kid": self.key["kid"]}, claims, "RS256")
        request.headers["Authorization"] = f"Bearer {token}"
        return request


def from_environment() -> IdentityToken | None:
    """Where the service under test knows no scheduler of ours, nobody may start a job."""
    folder = os.environ.get("SCHEDULER_KEYS")
    if folder is None:
        return None
    audience = os.environ["BACKOFFICE_URL"].removesuffix("/bff/backoffice/v1")
    return IdentityToken(Path(folder), os.environ["SCHEDULER_EMAIL"], audience)


if __name__ == "__main__":
    make_keys(Path(sys.argv[1]))
