"""Objects of the simulated world for requests that are to be done, each used once; and any id of a
kind for those that need not be."""

import random

from desk import SIMULATOR, TIMEOUT_SECONDS, platform, ulid

# Share of the ids that may be another tenant's.
FOREIGN = 0.1


class UsedUp(Exception):
    """Nothing of the kind is left in the state that was asked for."""


class Stock:
    """What one tenant has, in two halves: one to be taken from, each item once and as it was in the
    beginning; one for requests that may do with it what they like."""

    def __init__(self, chance: random.Random):
        self.chance = chance
        world = platform.get(f"{SIMULATOR}/sim/world", timeout=TIMEOUT_SECONDS)
        world.raise_for_status()
        self.world = world.json()
        self.tenant = self.busiest_tenant()
        self.tenant_id = self.tenant["id"]
        self.left: dict[str, list[dict]] = {}
        self.others: dict[str, list[dict]] = {}
        for kind in [kind for kind in self.world if kind != "tenants"]:
            items = self.world[kind]
            own = [item for item in items if item["tenantId"] == self.tenant_id]
            self.left[kind] = own[::2]
            self.others[kind] = own[1::2]

    def busiest_tenant(self) -> dict:
        """The one of a standard profile, which hides no suggestion, that has most to take."""
        stays = [stay["tenantId"] for stay in self.world["reservations"]]
        standard = [it for it in self.world["tenants"] if it["complianceProfile"] == "standard"]
        return max(standard, key=lambda tenant: stays.count(tenant["id"]))

    def take(self, kind: str, **wanted: str) -> dict:
        """One that nobody else will get.

        Raises `UsedUp`.
        """
        for place, item in enumerate(self.left[kind]):
            if all(item.get(member) == value for member, value in wanted.items()):
                return self.left[kind].pop(place)
        raise UsedUp(kind)

    def any(self, kind: str) -> dict:
        """Whichever, in any state; once in a while another tenant's."""
        of_everybody = self.chance.random() < FOREIGN
        return self.chance.choice(self.world[kind] if of_everybody else self.others[kind])

    def property(self) -> str:
        return self.chance.choice(self.tenant["properties"])["id"]

    def prepare(self, path: str, body: dict) -> dict:
        """Has an upstream service do something itself, before the service under test is asked."""
        headers = {
            "Authorization": "Bearer id-token",
            "X-Tenant-Id": self.tenant_id,
            "Idempotency-Key": ulid(),
        }
        answer = platform.post(
            f"{SIMULATOR}/{path}", json=body, headers=headers, timeout=TIMEOUT_SECONDS
        )
        answer.raise_for_status()
        return answer.json()
