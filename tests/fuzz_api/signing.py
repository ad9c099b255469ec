"""Compact JWS and the encoding they are made of."""

import base64
import json

from jwcrypto import jwk
from jwcrypto.jws import JWSCore


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(key: jwk.JWK, header: dict, claims: dict, algorithm: str) -> str:
    """The compact JWS of these claims."""
    head, body = json.dumps({"alg": algorithm, **header}), json.dumps(claims)
    signature = JWSCore(algorithm, key, head, body, [algorithm]).sign()["signature"]
    return f"{b64(head.encode())}.{b64(body.encode())}.{signature}"
