//! The rows of the mutation table.

use events::ledger::mfa_attestation::StepUpScope;

use super::{
    Mutation, StepUp,
    body::{AMOUNT, Kind, Member, PROPERTY, optional, required},
};
use crate::upstream::Service;

const NOTE: Member = optional("note", Kind::Text { chars_max: 500 }, "For the colleagues")
    .example("\"Asked for a quiet room\"");
const REASON: &str = "Why, in the platform's words";

const CANCEL_REASONS: &[&str] =
    &["guest_request", "no_payment", "duplicate", "overbooking", "property_closed", "other"];
const REFUND_REASONS: &[&str] =
    &["overcharge", "service_failure", "early_departure", "duplicate_payment", "other"];
const PAYMENT_METHODS: &[&str] = &["cash", "card", "bank_transfer", "mobile_money"];
const ROOM_STATUSES: &[&str] =
    &["clean", "dirty", "cleaning", "inspected", "ready", "out_of_order", "out_of_service"];
const CATEGORIES: &[&str] =
    &["plumbing", "electrical", "hvac", "lock", "generator", "water", "structural", "it", "other"];
const SEVERITIES: &[&str] = &["low", "normal", "high", "critical"];
const BLOCK_REASONS: &[&str] = &["parts", "access", "vendor", "weather", "other"];

const MONEY: Member = required(AMOUNT, Kind::Money, "More than nothing, in the folio's currency")
    .example(r#"{"amountMicro":"1500000000","currency":"AFN"}"#);
const DESCRIPTION: Member =
    optional("description", Kind::Text { chars_max: 140 }, "Stands on the folio")
        .example("\"Minibar\"");

const STAY_BOARDS: &[&str] = &["today", "arrivals", "departures", "in-house", "front-desk"];
const WORK_BOARDS: &[&str] = &["today", "maintenance"];
const ROOM_BOARDS: &[&str] = &["today", "front-desk", "housekeeping"];

const RESERVATION: Mutation = Mutation {
    service: Service::Reservation,
    versioned: true,
    boards: STAY_BOARDS,
    body: &[NOTE],
    ..Mutation::BASE
};
const FOLIO: Mutation = Mutation {
    service: Service::Billing,
    success: 201,
    boards: &["departures", "front-desk"],
    widgets: &["folios", "cash-drawer"],
    ..Mutation::BASE
};
const TASK: Mutation = Mutation {
    service: Service::Housekeeping,
    versioned: true,
    boards: ROOM_BOARDS,
    widgets: &["rooms", "tasks"],
    body: &[NOTE],
    ..Mutation::BASE
};
const WORK_ORDER: Mutation = Mutation {
    service: Service::Maintenance,
    versioned: true,
    boards: WORK_BOARDS,
    widgets: &["work-orders"],
    body: &[NOTE],
    ..Mutation::BASE
};

/// All of them, in the order of `api.md`.
pub const ROWS: &[Mutation] = &[
    Mutation {
        verb: "reservation.check-in",
        route: "/reservations/{id}/check-in",
        operation_id: "checkIn",
        summary: "The guest has arrived",
        path: "/api/v1/reservations/{id}/check-in",
        widgets: &["arrivals", "in-house", "rooms", "occupancy"],
        ..RESERVATION
    },
    Mutation {
        verb: "reservation.check-out",
        route: "/reservations/{id}/check-out",
        operation_id: "checkOut",
        summary: "The guest has left",
        path: "/api/v1/reservations/{id}/check-out",
        boards: &["today", "departures", "in-house", "front-desk", "housekeeping"],
        widgets: &["departures", "in-house", "rooms", "occupancy"],
        ..RESERVATION
    },
    Mutation {
        verb: "reservation.cancel",
        route: "/reservations/{id}/cancel",
        operation_id: "cancelReservation",
        summary: "The reservation is cancelled before arrival",
        path: "/api/v1/reservations/{id}/cancel",
        body: &[
            required("reasonCode", Kind::OneOf(CANCEL_REASONS), REASON)
                .example("\"guest_request\""),
            NOTE,
        ],
        widgets: &["arrivals", "occupancy"],
        ..RESERVATION
    },
    Mutation {
        verb: "reservation.no-show",
        route: "/reservations/{id}/no-show",
        operation_id: "markNoShow",
        summary: "The guest did not come",
        path: "/api/v1/reservations/{id}/no-show",
        widgets: &["arrivals", "occupancy"],
        ..RESERVATION
    },
    Mutation {
        verb: "reservation.assign-room",
        route: "/reservations/{id}/assign-room",
        operation_id: "assignRoom",
        summary: "The guest will have this room",
        path: "/api/v1/reservations/{id}/assign-room",
        body: &[
            required("roomId", Kind::Id, "A free room of the same property")
                .example("\"rmu_01JD3Q5Z8W6M4K2T0V9X7R5B3C\""),
            NOTE,
        ],
        widgets: &["arrivals", "rooms"],
        ..RESERVATION
    },
    Mutation {
        verb: "reservation.extend-stay",
        route: "/reservations/{id}/extend-stay",
        operation_id: "extendStay",
        summary: "The guest stays longer",
        path: "/api/v1/reservations/{id}/extend-stay",
        body: &[
            required("departureDate", Kind::Date, "Property-local, after the present one")
                .example("\"2027-01-31\""),
            NOTE,
        ],
        widgets: &["departures", "in-house", "occupancy"],
        ..RESERVATION
    },
    Mutation {
        verb: "folio.charge",
        route: "/folios/{id}/charges",
        operation_id: "postCharge",
        summary: "Puts a charge on a folio; a large one needs X-Mfa-Attestation (folio.large-charge)",
        path: "/api/v1/folios/{id}/charges",
        step_up: StepUp::AtThreshold(StepUpScope::FolioLargeCharge),
        body: &[MONEY, DESCRIPTION],
        ..FOLIO
    },
    Mutation {
        verb: "folio.payment",
        route: "/folios/{id}/payments",
        operation_id: "postPayment",
        summary: "Records a payment on a folio",
        path: "/api/v1/folios/{id}/payments",
        body: &[
            MONEY,
            required("method", Kind::OneOf(PAYMENT_METHODS), "How it was paid").example("\"cash\""),
            DESCRIPTION,
        ],
        ..FOLIO
    },
    Mutation {
        verb: "folio.close",
        route: "/folios/{id}/close",
        operation_id: "closeFolio",
        summary: "Closes a folio on which nothing is due",
        path: "/api/v1/folios/{id}/close",
        success: 200,
        body: &[NOTE],
        ..FOLIO
    },
    Mutation {
        verb: "folio.refund",
        route: "/folios/{id}/refunds",
        operation_id: "postRefund",
        summary: "Gives money back; needs X-Mfa-Attestation (folio.refund)",
        path: "/api/v1/folios/{id}/refunds",
        step_up: StepUp::Always(StepUpScope::FolioRefund),
        body: &[
            MONEY,
            required("reasonCode", Kind::OneOf(REFUND_REASONS), REASON).example("\"overcharge\""),
            DESCRIPTION,
        ],
        ..FOLIO
    },
    Mutation {
        verb: "housekeeping.start",
        route: "/housekeeping/tasks/{id}/start",
        operation_id: "startTask",
        summary: "Somebody has begun to work on the room",
        path: "/api/v1/housekeeping/tasks/{id}/start",
        ..TASK
    },
    Mutation {
        verb: "housekeeping.complete",
        route: "/housekeeping/tasks/{id}/complete",
        operation_id: "completeTask",
        summary: "The room is clean",
        path: "/api/v1/housekeeping/tasks/{id}/complete",
        ..TASK
    },
    Mutation {
        verb: "housekeeping.inspect",
        route: "/housekeeping/tasks/{id}/inspect",
        operation_id: "inspectTask",
        summary: "The room was looked at and is in order",
        path: "/api/v1/housekeeping/tasks/{id}/inspect",
        ..TASK
    },
    Mutation {
        verb: "housekeeping.room-status",
        route: "/rooms/{id}/status",
        operation_id: "setRoomStatus",
        summary: "Says in which state a room is",
        path: "/api/v1/housekeeping/rooms/{id}/status",
        versioned: false,
        body: &[
            required("status", Kind::OneOf(ROOM_STATUSES), "The state it is in from now on")
                .example("\"dirty\""),
            NOTE,
        ],
        widgets: &["rooms"],
        ..TASK
    },
    Mutation {
        verb: "maintenance.create",
        route: "/maintenance/work-orders",
        operation_id: "createWorkOrder",
        summary: "Something is broken",
        path: "/api/v1/maintenance/work-orders",
        success: 201,
        versioned: false,
        body: &[
            required(PROPERTY, Kind::Id, "One of the caller's own")
                .example("\"ppt_01JD3Q5Z8W6M4K2T0V9X7R5B3C\""),
            required("title", Kind::Text { chars_max: 140 }, "What is broken")
                .example("\"Shower leaks\""),
            required("category", Kind::OneOf(CATEGORIES), "Whose trade it is")
                .example("\"plumbing\""),
            required("severity", Kind::OneOf(SEVERITIES), "How bad it is").example("\"high\""),
            optional("roomId", Kind::Id, "The room it is in")
                .example("\"rmu_01JD3Q5Z8W6M4K2T0V9X7R5B3C\""),
            optional("description", Kind::Text { chars_max: 2000 }, "More about it")
                .example("\"Water on the floor\""),
        ],
        ..WORK_ORDER
    },
    Mutation {
        verb: "maintenance.assign",
        route: "/maintenance/work-orders/{id}/assign",
        operation_id: "assignWorkOrder",
        summary: "Somebody is to mend it",
        path: "/api/v1/maintenance/work-orders/{id}/assign",
        body: &[
            required("assigneeId", Kind::Id, "An operator of the tenant")
                .example("\"usr_01JD3Q5Z8W6M4K2T0V9X7R5B3C\""),
            NOTE,
        ],
        ..WORK_ORDER
    },
    Mutation {
        verb: "maintenance.block",
        route: "/maintenance/work-orders/{id}/block",
        operation_id: "blockWorkOrder",
        summary: "It cannot be mended for now",
        path: "/api/v1/maintenance/work-orders/{id}/block",
        body: &[
            required("reasonCode", Kind::OneOf(BLOCK_REASONS), REASON).example("\"parts\""),
            NOTE,
        ],
        ..WORK_ORDER
    },
    Mutation {
        verb: "maintenance.resolve",
        route: "/maintenance/work-orders/{id}/resolve",
        operation_id: "resolveWorkOrder",
        summary: "It is mended",
        path: "/api/v1/maintenance/work-orders/{id}/resolve",
        ..WORK_ORDER
    },
    Mutation {
        verb: "maintenance.verify",
        route: "/maintenance/work-orders/{id}/verify",
        operation_id: "verifyWorkOrder",
        summary: "Somebody else has looked: it is mended",
        path: "/api/v1/maintenance/work-orders/{id}/verify",
        ..WORK_ORDER
    },
];
