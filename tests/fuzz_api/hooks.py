"""Schemathesis against the service: real requests among the generated ones, signed as they go out.

Whether a request is arranged, and how, is decided by one generator of chance with the run's seed.
"""

import json
import os
import random
import re

import requests
import schemathesis
from schemathesis.auths import GLOBAL_AUTH_STORAGE, AuthContext
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

import checks  # noqa: F401 (registers the checks)
import report  # noqa: F401 (registers the count)
import scheduler
from desk import Desk, Proofs, ulid
from stock import Stock
from wishes import Wishes

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
KEY_HEADER = "X-Idempotency-Key"
# Long enough to be a long poll, short enough to be asked often.
POLL_MILLISECONDS_MAX = 50
# Shares of the generated requests: arranged to be done, or with ids of the right kind at least …
READY, REAL = 0.15, 0.6
# … where each member that is known replaces the generated one …
MEMBER_KNOWN = 0.8
# … under the key of the request before, of whatever body …
SAME_KEY = 0.05
# … and by an operator who may read records and do nothing.
AUDITOR = 0.02

chance = random.Random(int(os.environ["SEED"]))
stock = Stock(chance)
desk = Desk(stock.tenant_id)
auditor = Desk(stock.tenant_id, roles=["auditor"])
wishes = Wishes(desk, stock)
job_token = scheduler.from_environment()
# By refresh token: who may use it.
refreshing: dict[str, Desk] = {}
last_key = ulid()
# Who signs the next request that no operation claims for itself.
signing = desk


@schemathesis.hook
def before_add_examples(context, examples):
    """One request of each operation that will be done."""
    wish = arrange(context.operation, ready=True)
    headers = dict(wish.headers)
    if takes(context.operation, KEY_HEADER):
        headers[KEY_HEADER] = ulid()
    body = {} if wish.body is None else {"body": wish.body, "media_type": "application/json"}
    case = context.operation.Case(
        path_parameters=wish.path, headers=headers, query=wish.query, **body
    )
    # What is generated is signed already; what is added here has to be.
    GLOBAL_AUTH_STORAGE.set(case, AuthContext(operation=context.operation, app=None))
    examples.append(case)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes some of what was generated real, but for what is meant to be wrong."""
    global signing
    signing = desk
    drop_controls(case.headers)
    if case.meta is None or case.meta.phase.name == TestPhase.EXAMPLES:
        return
    signing = auditor if chance.random() < AUDITOR else desk
    drawn = chance.random()
    wish = arrange(case.operation, drawn < READY) if drawn < READY + REAL else None
    wrong = case.meta.is_negative_at
    if wish is not None:
        if wish.path and not wrong(ParameterLocation.PATH):
            case.path_parameters.update(wish.path)
        if not wrong(ParameterLocation.QUERY):
            for name in case.query:
                case.query[name] = wish.query.get(name, case.query[name])
        if wish.body is not None and not wrong(ParameterLocation.BODY):
            fill(case, wish.body)
    if not wrong(ParameterLocation.HEADER):
        headers(case, wish)
    shorten_poll(case)


def arrange(operation, ready: bool):
    wish = wishes.arrange(operation.definition.raw["operationId"], ready)
    if wish.desk is not None:
        refreshing[wish.body["refreshToken"]] = wish.desk
    return wish


def takes(operation, header: str) -> bool:
    return any(parameter.name == header for parameter in operation.headers)


def fill(case, known: dict) -> None:
    """Members that are known, in place of those that were generated."""
    if not isinstance(case.body, dict):
        return
    for member, value in known.items():
        if chance.random() < MEMBER_KNOWN:
            case.body[member] = value


def headers(case, wish) -> None:
    """A key, which no schema can describe; and what the arranged request needs."""
    global last_key
    if takes(case.operation, KEY_HEADER):
        if SAME_KEY < chance.random():
            last_key = ulid()
        case.headers[KEY_HEADER] = last_key
    if wish is None:
        return
    # A generated version is none of the object's, a generated position or cursor none of ours.
    for name in ("If-Match", "X-Property-Id", "X-Mfa-Attestation", "X-Min-Position", "Last-Event-ID"):
        case.headers.pop(name, None)
    case.headers.update(wish.headers)


def drop_controls(headers) -> None:
    """What has a control character in a header is no request (RFC 9110 §5.5): the parser answers it
    before there is anything of ours."""
    for name, value in list(headers.items()):
        if isinstance(value, str):
            headers[name] = CONTROL.sub("", value)


def shorten_poll(case) -> None:
    """A poll that would wait long is asked to wait a moment."""
    if not case.path.endswith("/live/poll") or not isinstance(case.query, dict):
        return
    wait = case.query.setdefault("waitMs", POLL_MILLISECONDS_MAX)
    if isinstance(wait, int) and not isinstance(wait, bool) and POLL_MILLISECONDS_MAX < wait:
        if wait <= 15_000:
            case.query["waitMs"] = POLL_MILLISECONDS_MAX


class Signer(requests.auth.AuthBase):
    """Signs each request the way its operation asks for, when the rest of it is final."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        path = request.url.split("?")[0]
        if "/internal/jobs/" in path:
            return job_token(request) if job_token else request
        if path.endswith("/auth/refresh"):
            return Proofs(refreshing.get(refresh_token(request), desk), with_token=False)(request)
        if path.endswith("/auth/sign-out"):
            # It ends a session: one of its own.
            return Proofs(Desk(stock.tenant_id))(request)
        return Proofs(signing.renewed())(request)


def refresh_token(request: requests.PreparedRequest) -> str | None:
    try:
        body = json.loads(request.body or b"null")
    except ValueError:
        return None
    token = body.get("refreshToken") if isinstance(body, dict) else None
    return token if isinstance(token, str) else None


schemathesis.auth.set_from_requests(Signer())
