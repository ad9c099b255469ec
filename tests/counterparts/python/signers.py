"""Signs proofs with jwcrypto and with requests_oauth2client, and sends them to the running service.

Arguments: the simulated platform, a service without nonces, a service that requires them. Answers
one JSON list of rows on standard output.
"""

import base64
import hashlib
import json
import sys
import time
import uuid

import requests
from jwcrypto import jwk
from jwcrypto.jws import JWSCore
from requests_oauth2client import DPoPKey, DPoPToken, RepeatedDPoPNonce, validate_dpop_proof
from requests_oauth2client.dpop import InvalidDPoPProof

PLATFORM, SERVICE, STRICT = sys.argv[1:]
PATH = "/bff/backoffice/v1/bootstrap"
http = requests.Session()
http.trust_env = False


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def ath(token: str) -> str:
    return b64(hashlib.sha256(token.encode()).digest())


def sign_in(public_jwk: dict) -> dict:
    world = http.get(f"{PLATFORM}/sim/world", timeout=20).json()
    wish = {"tenantId": world["tenants"][0]["id"], "deviceJwk": public_jwk}
    answer = http.post(f"{PLATFORM}/sim/sign-in", json=wish, timeout=20)
    answer.raise_for_status()
    return answer.json()


def lines(grant: dict) -> dict:
    return {
        "x-device-id": grant["deviceId"],
        "x-app-version": "1.4.2",
        "x-app-platform": "linux",
        "x-network-mode": "good",
    }


key = jwk.JWK.generate(kty="EC", crv="P-256")
other = jwk.JWK.generate(kty="EC", crv="P-256")
public = key.export_public(as_dict=True)
grant = sign_in(public)
token = grant["accessToken"]


def claims(**changes) -> dict:
    everything = {
        "jti": str(uuid.uuid4()),
        "htm": "GET",
        "htu": SERVICE + PATH,
        "iat": int(time.time()),
        "ath": ath(token),
        **changes,
    }
    return {name: value for name, value in everything.items() if value is not ...}


def sign(payload: dict, by=None, alg: str = "ES256", **header) -> str:
    head = {"typ": "dpop+jwt", "alg": alg, "jwk": public, **header}
    head = json.dumps({name: value for name, value in head.items() if value is not ...})
    body = json.dumps(payload)
    signature = JWSCore(alg, by or key, head, body, [alg]).sign()["signature"]
    signature = signature if isinstance(signature, str) else b64(signature)
    return f"{b64(head.encode())}.{b64(body.encode())}.{signature}"


def of_other_kind(alg: str, **kind) -> str:
    made = jwk.JWK.generate(**kind)
    return sign(claims(), by=made, alg=alg, jwk=made.export_public(as_dict=True))


def with_alg(alg: str) -> str:
    """Signed with ES256 under the name of another algorithm."""
    head = json.dumps({"typ": "dpop+jwt", "alg": alg, "jwk": public})
    body = json.dumps(claims())
    signature = JWSCore("ES256", key, head, body, ["ES256"]).sign()["signature"]
    signature = signature if isinstance(signature, str) else b64(signature)
    return f"{b64(head.encode())}.{b64(body.encode())}.{signature}"


def flipped(proof: str) -> str:
    signed, signature = proof.rsplit(".", 1)
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[7] ^= 1
    return f"{signed}.{b64(bytes(raw))}"


now = int(time.time())
bound = DPoPKey.generate()
rows = [
    ("jwcrypto", sign(claims()), "ok"),
    ("jwcrypto, 10 s ago", sign(claims(iat=now - 10)), "ok"),
    ("jwcrypto, a fraction of a second", sign(claims(iat=now + 0.5)), "ok"),
    ("jwcrypto, claims of others", sign(claims(tx_id="x", more={"a": None})), "ok"),
    ("jwcrypto, header members of others", sign(claims(), kid="k", tx_id="x"), "ok"),
    ("jwcrypto, jwk with a kid", sign(claims(), jwk={**public, "kid": "k", "use": "sig"}), "ok"),
    ("jwcrypto, htu with a query", sign(claims(htu=f"{SERVICE}{PATH}?a=%20b")), "ok"),
    ("jwcrypto, htu with an encoded letter", sign(claims(htu=f"{SERVICE}/%62ff{PATH[4:]}")), "ok"),
    ("no typ", sign(claims(), typ=...), "proof"),
    ("typ JWT", sign(claims(), typ="JWT"), "proof"),
    ("alg none", with_alg("none"), "proof"),
    ("alg HS256", with_alg("HS256"), "proof"),
    ("alg ES256K", of_other_kind("ES256K", kty="EC", crv="secp256k1"), "proof"),
    ("alg ES384", of_other_kind("ES384", kty="EC", crv="P-384"), "proof"),
    ("alg RS256", of_other_kind("RS256", kty="RSA", size=2048), "proof"),
    ("alg EdDSA", of_other_kind("EdDSA", kty="OKP", crv="Ed25519"), "proof"),
    ("no jwk", sign(claims(), jwk=...), "proof"),
    ("a private key in jwk", sign(claims(), jwk=key.export_private(as_dict=True)), "proof"),
    ("jwk of another", sign(claims(), jwk=other.export_public(as_dict=True)), "proof"),
    (
        "a key the token is not bound to",
        sign(claims(), by=other, jwk=other.export_public(as_dict=True)),
        "token",
    ),
    ("crit", sign(claims(), crit=["exp"]), "proof"),
    ("jti missing", sign(claims(jti=...)), "proof"),
    ("jti empty", sign(claims(jti="")), "proof"),
    ("htm missing", sign(claims(htm=...)), "proof"),
    ("htm in lower case", sign(claims(htm="get")), "proof"),
    ("htu missing", sign(claims(htu=...)), "proof"),
    ("htu elsewhere", sign(claims(htu="https://evil.example" + PATH)), "proof"),
    ("iat missing", sign(claims(iat=...)), "proof"),
    ("iat long ago", sign(claims(iat=now - 400)), "proof"),
    ("iat far ahead", sign(claims(iat=now + 400)), "proof"),
    ("iat text", sign(claims(iat=str(now))), "proof"),
    ("ath missing", sign(claims(ath=...)), "proof"),
    ("ath of another token", sign(claims(ath=ath("another"))), "proof"),
    ("a bit of the signature", flipped(sign(claims())), "proof"),
    ("two proofs", f"{sign(claims())}, {sign(claims())}", "proof"),
]


def second_opinion(proof: str) -> dict:
    try:
        validate_dpop_proof(proof, htm="GET", htu=SERVICE + PATH, ath=ath(token), algs=("ES256",))
    except (InvalidDPoPProof, ValueError, TypeError, KeyError, AttributeError) as error:
        return {"accepts": False, "says": str(error)}
    return {"accepts": True}


results = []
for name, proof, expected in rows:
    headers = {"authorization": f"DPoP {token}", "dpop": proof, **lines(grant)}
    answer = http.get(SERVICE + PATH, headers=headers, timeout=20)
    problem = {} if answer.ok else answer.json()
    results.append(
        {
            "id": name,
            "expected": expected,
            "status": answer.status_code,
            "code": problem.get("code"),
            "challenge": answer.headers.get("www-authenticate"),
            "oracle": second_opinion(proof),
        }
    )

# requests_oauth2client as a client: it takes the nonce it is given and raises when it is given the
# same one again.
bound = DPoPKey.generate()
their_grant = sign_in(json.loads(bound.public_jwk.to_json()))
auth = DPoPToken(access_token=their_grant["accessToken"], _dpop_key=bound)
for turn in range(3):
    if turn == 2:
        # A nonce that is none: one of the service's own must come back.
        bound.rs_nonce = "AAAAAAAAAAAAAAAAAAAAAAAAAAA"
    before = bound.rs_nonce
    try:
        answer = http.get(STRICT + PATH, auth=auth, headers=lines(their_grant), timeout=20)
        status = answer.status_code
    except RepeatedDPoPNonce:
        status = -1
    results.append(
        {
            "id": f"requests_oauth2client, request {turn + 1}",
            "expected": "ok",
            "status": status,
            "code": "kept" if before == bound.rs_nonce else "taken",
            "challenge": None,
            "oracle": {"accepts": True},
        }
    )
print(json.dumps(results))
