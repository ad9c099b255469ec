"""For each operation a request that will be done: ids of the simulated world, each in the state the
operation asks for, and a second factor where one is needed."""

import datetime
from dataclasses import dataclass, field

from desk import Desk
from stock import Stock, UsedUp

STEP_UP = {"factor": "totp", "code": "000000"}
FAR_DATE = "2099-12-31"
TASKS = "housekeeping-service/api/v1/housekeeping/tasks"
WORK_ORDERS = "maintenance-service/api/v1/maintenance/work-orders"


@dataclass
class Wish:
    """Parts of a request; those that are left out are as they were generated."""

    path: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, object] = field(default_factory=dict)
    body: dict | None = None
    # Whose refresh token stands in the body.
    desk: Desk | None = None


def now(minutes: int = 0) -> str:
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


class Wishes:
    """Arranges requests. With `ready`, the object is as it has to be, and whatever comes before is
    done; else it is any of its kind, and so it is when none is left."""

    def __init__(self, desk: Desk, stock: Stock):
        self.desk, self.stock = desk, stock

    def arrange(self, operation_id: str, ready: bool) -> Wish:
        try:
            return self.of_operation(operation_id, ready)
        except UsedUp:
            return self.of_operation(operation_id, ready=False)

    def of_operation(self, operation_id: str, ready: bool) -> Wish:
        for family in (
            self.of_reservation,
            self.of_folio,
            self.of_task,
            self.of_work_order,
            self.of_lock,
            self.of_inbox,
            self.of_session,
            self.of_screen,
            self.of_desk,
        ):
            wish = family(operation_id, ready)
            if wish is not None:
                return wish
        return Wish()

    def pick(self, kind: str, ready: bool, **wanted: str) -> dict:
        return self.stock.take(kind, **wanted) if ready else self.stock.any(kind)

    def step_up(self, scope: str, resource: str) -> str:
        body = {"scope": scope, "resource": resource, **STEP_UP}
        return self.desk.ask("POST", "/auth/mfa/step-up", body)["attestationId"]

    def of_reservation(self, operation_id: str, ready: bool) -> Wish | None:
        states = {
            "checkIn": "confirmed",
            "cancelReservation": "confirmed",
            "markNoShow": "confirmed",
            "assignRoom": "confirmed",
            "checkOut": "in_house",
            "extendStay": "in_house",
        }
        if operation_id not in states:
            return None
        stay = self.pick("reservations", ready, state=states[operation_id])
        body = {"note": "A quiet room"}
        if operation_id == "cancelReservation":
            body["reasonCode"] = "guest_request"
        if operation_id == "extendStay":
            body["departureDate"] = FAR_DATE
        if operation_id == "assignRoom":
            property_id = stay["propertyId"]
            other = self.pick("reservations", ready, state="confirmed", propertyId=property_id)
            body["roomId"] = other["roomId"]
        return about(stay, body)

    def of_folio(self, operation_id: str, ready: bool) -> Wish | None:
        if operation_id not in ("postCharge", "postPayment", "postRefund", "closeFolio"):
            return None
        folio = self.pick("folios", ready, state="balance_due")
        amount = {"amountMicro": "1000000", "currency": folio["balance"]["currency"]}
        if operation_id == "closeFolio":
            if ready:
                path = f"billing-service/api/v1/folios/{folio['id']}/payments"
                self.stock.prepare(path, {"amount": folio["balance"]})
            return about(folio, {})
        body = {"amount": amount, "description": "Minibar"}
        if operation_id == "postPayment":
            body["method"] = "cash"
        wish = about(folio, body)
        if operation_id == "postRefund":
            body["reasonCode"] = "overcharge"
            if ready:
                wish.headers["X-Mfa-Attestation"] = self.step_up("folio.refund", folio["id"])
        return wish

    def of_task(self, operation_id: str, ready: bool) -> Wish | None:
        if operation_id == "setRoomStatus":
            stay = self.pick("reservations", ready, state="in_house")
            return about({**stay, "id": stay["roomId"]}, {"status": "dirty"})
        before = {"startTask": [], "completeTask": ["start"], "inspectTask": ["start", "complete"]}
        if operation_id not in before:
            return None
        task = self.pick("tasks", ready, state="created")
        for step in before[operation_id] if ready else []:
            self.stock.prepare(f"{TASKS}/{task['id']}/{step}", {})
        return about(task, {})

    def of_work_order(self, operation_id: str, ready: bool) -> Wish | None:
        if operation_id == "createWorkOrder":
            stay = self.stock.any("reservations")
            body = {"title": "Shower leaks", "category": "plumbing", "severity": "high"}
            own = {"propertyId": stay["propertyId"], "roomId": stay["roomId"]}
            return Wish(body={**body, **own})
        bodies = {
            "assignWorkOrder": {"assigneeId": self.desk.grant["operatorId"]},
            "blockWorkOrder": {"reasonCode": "parts"},
            "resolveWorkOrder": {},
            "verifyWorkOrder": {},
        }
        if operation_id not in bodies:
            return None
        order = self.pick("workOrders", ready, state="open")
        if operation_id == "verifyWorkOrder" and ready:
            self.stock.prepare(f"{WORK_ORDERS}/{order['id']}/resolve", {})
        return about(order, bodies[operation_id])

    def of_lock(self, operation_id: str, ready: bool) -> Wish | None:
        if operation_id not in ("issueKey", "revokeKey"):
            return None
        stay = self.pick("reservations", ready, state="in_house")
        lock = next(it for it in self.stock.world["locks"] if it["roomId"] == stay["roomId"])
        issue = {
            "reservationId": stay["id"],
            "rooms": [stay["roomId"]],
            "validFrom": now(),
            "validUntil": now(minutes=600),
            "preferredKinds": ["rfid_card"],
        }
        if operation_id == "issueKey":
            return Wish(path={"lockId": lock["id"]}, body=issue)
        wish = Wish(path={"lockId": lock["id"]}, body={"reason": "lost"})
        if ready:
            issued = self.desk.ask("POST", f"/locks/{lock['id']}/issue-key", issue)
            wish.body["keyCredentialId"] = issued["keyCredentialId"]
            wish.headers["X-Mfa-Attestation"] = self.step_up("lock.revoke", lock["id"])
        return wish

    def of_inbox(self, operation_id: str, ready: bool) -> Wish | None:
        if operation_id == "acknowledgeAlert":
            return Wish(path=id_of(self.pick("alerts", ready, state="raised")), body={})
        if operation_id == "decideSuggestion":
            suggestion = self.pick("suggestions", ready, state="proposed")
            return Wish(path=id_of(suggestion), body={"decision": "accept"})
        if operation_id == "listAlerts":
            return Wish(query={"propertyId": self.stock.property(), "severity": "high"})
        if operation_id == "listSuggestions":
            return Wish(query={"propertyId": self.stock.property(), "state": "proposed"})
        return None

    def of_session(self, operation_id: str, ready: bool) -> Wish | None:
        if operation_id == "refresh":
            desk = Desk(self.stock.tenant_id)
            return Wish(desk=desk, body={"refreshToken": desk.grant["refreshToken"]})
        if operation_id == "stepUp":
            return Wish(body={"scope": "lock.revoke", **STEP_UP})
        return None

    def of_screen(self, operation_id: str, ready: bool) -> Wish | None:
        if operation_id == "dashboard":
            accept = self.stock.chance.choice(["application/json", "application/x-ndjson"])
            return Wish(query={"propertyId": self.stock.property()}, headers={"Accept": accept})
        if operation_id.endswith("Board"):
            day = datetime.datetime.now(datetime.UTC).date().isoformat()
            of_board = {"date": day, "state": "confirmed", "limit": 20}
            return Wish(query={"propertyId": self.stock.property(), **of_board})
        return None

    def of_desk(self, operation_id: str, ready: bool) -> Wish | None:
        own_device = {"id": self.desk.grant["deviceId"]}
        heartbeat = {"appVersion": "1.4.2", "networkMode": "good", "pendingActions": 0}
        if operation_id == "deviceSyncStatus" and ready:
            self.desk.ask("POST", f"/devices/{own_device['id']}/heartbeat", heartbeat)
        opened = {"verb": "board.opened", "at": now(), "properties": {"board": "arrivals"}}
        return {
            "heartbeat": Wish(path=own_device, body=heartbeat),
            "deviceSyncStatus": Wish(path=own_device),
            "recordActivity": Wish(body={"items": [opened]}),
            "advanceSyncCursor": Wish(body={"stream": "reservations", "cursor": "c-1"}),
            "syncHandshake": Wish(body={}),
            "putShortcuts": Wish(body={"overrides": {"alerts.open": "Ctrl+Alt+A"}}),
            "putPreferences": Wish(body={"preferences": {"density": "compact"}}),
            "putOfflineQueueHint": Wish(body={"pendingActions": 1, "kinds": {"check-in": 1}}),
            "pollLive": Wish(query={"waitMs": 0}),
            "live": Wish(query={"channels": "session"}),
            "runJob": Wish(path={"name": "partitions"}),
        }.get(operation_id)


def about(item: dict, body: dict) -> Wish:
    """A request about one object, in the object's property."""
    return Wish(path=id_of(item), headers={"X-Property-Id": item["propertyId"]}, body=body)


def id_of(item: dict) -> dict[str, str]:
    return {"id": item["id"]}
