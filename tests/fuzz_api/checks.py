"""What every answer promises beside status, type and schema, which schemathesis checks itself."""

import json
import re

import schemathesis

ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# What transport and caches need, which no interface describes.
OF_HTTP = {
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "transfer-encoding",
    "vary",
    "x-accel-buffering",
    "x-content-type-options",
}
# Documented without a condition: there with every success of the operation …
WITH_EVERY_SUCCESS = {"x-cache"}
# … or with every one that wrote something.
WITH_EVERY_WRITE = {"x-ledger-position"}
# Succeeds without writing when it stands already.
MAY_STAND_ALREADY = {"acknowledgeAlert"}


@schemathesis.check
def names_of_the_request(ctx, response, case):
    """Every answer carries the request's names and is kept by no cache it is not meant for."""
    values = header_values(response)
    assert ULID.fullmatch(values.get("x-request-id", "")), "X-Request-Id is no ULID"
    assert TRACEPARENT.fullmatch(values.get("traceparent", "")), "traceparent is malformed"
    assert values.get("x-content-type-options") == "nosniff", "X-Content-Type-Options is missing"
    assert values.get("cache-control"), "Cache-Control is missing"


@schemathesis.check
def problems_are_whole(ctx, response, case):
    """An error is a problem of ours whose members and headers agree with one another."""
    if response.status_code < 400 or case.path == "/health/ready":
        return
    values = header_values(response)
    assert values.get("content-type") == "application/problem+json", "not a problem"
    assert values.get("content-language"), "Content-Language is missing"
    problem = response.json()
    assert problem["status"] == response.status_code, "`status` is another one"
    if "idempotency-replayed" not in values:
        # A kept refusal is told again byte for byte.
        assert problem["requestId"] == values["x-request-id"], "`requestId` is another one"
    assert problem["code"].startswith("MELMASTOON."), "`code` is not of the platform"
    assert problem.get("retryAfter") == whole(values.get("retry-after")), "Retry-After differs"
    if response.status_code in (429, 503):
        assert values.get("retry-after"), "Retry-After is missing"
    if response.status_code == 401 and "/internal/" not in case.path:
        assert values.get("www-authenticate", "").startswith("DPoP "), "the challenge is missing"
    if response.status_code == 405:
        assert values.get("allow"), "Allow is missing"


@schemathesis.check
def headers_are_documented(ctx, response, case):
    """What an answer carries is documented, and what is documented to come always comes."""
    if response.status_code == 405:
        return
    documented = documented_headers(case.operation, response.status_code)
    if documented is None:
        return
    sent = set(header_values(response)) - OF_HTTP
    assert sent <= documented, f"undocumented: {', '.join(sorted(sent - documented))}"
    if response.status_code < 300:
        promised = documented & WITH_EVERY_SUCCESS
        operation_id = case.operation.definition.raw["operationId"]
        if "idempotency-replayed" not in sent and operation_id not in MAY_STAND_ALREADY:
            promised |= documented & WITH_EVERY_WRITE
        assert promised <= sent, f"missing: {', '.join(sorted(promised - sent))}"


@schemathesis.check
def frames_are_whole(ctx, response, case):
    """A dashboard piece by piece: what it announces first, each of it once, and how it went."""
    if header_values(response).get("content-type") != "application/x-ndjson":
        return
    frames = [json.loads(line) for line in response.content.splitlines()]
    kinds = [frame["frame"] for frame in frames]
    announced = [widget["id"] for widget in frames[0].get("widgets", [])]
    assert kinds == ["skeleton", *["widget"] * len(announced), "end"], f"frames: {kinds}"
    shown = [frame["id"] for frame in frames[1:-1]]
    assert sorted(shown) == sorted(announced), f"announced {announced}, shown {shown}"
    broken = [it["id"] for it in frames[1:-1] if it["status"] not in ("ok", "forbidden")]
    assert sorted(frames[-1]["partial"]) == sorted(broken), "`partial` names others"


def header_values(response) -> dict[str, str]:
    return {name.lower(): values[0] for name, values in response.headers.items()}


def whole(text: str | None) -> int | None:
    return None if text is None else int(text)


def documented_headers(operation, status: int) -> set[str] | None:
    """Of this status, in lower case; none where the status itself is not documented."""
    document = operation.schema.raw_schema
    described = operation.definition.raw["responses"].get(str(status))
    if described is None:
        return None
    while "$ref" in described:
        described = at(document, described["$ref"])
    return {name.lower() for name in described.get("headers", {})}


def at(document: dict, reference: str) -> dict:
    for member in reference.removeprefix("#/").split("/"):
        document = document[member]
    return document
