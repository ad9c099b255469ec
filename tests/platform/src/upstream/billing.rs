//! billing-service: folios and the cash drawer.

use axum::http::StatusCode;
use serde_json::json;

use super::{
    exchange::{Answer, Request},
    pages,
};
use crate::{
    feed, identifier,
    problem::Problem,
    producer::Producer,
    world::{
        World,
        money::{Entry, Folio, FolioState, Money},
    },
};

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["folios"]) => list(world, request),
        ("GET", ["folios", id]) => {
            let folio = world.folios.get(&request.tenant_id, id).ok_or_else(|| no_folio(id))?;
            Ok(Answer::ok(json!({ "data": folio })))
        }
        ("GET", ["cash-drawer"]) => cash_drawer(world, request),
        ("POST", ["folios", id, "charges"]) => post(world, request, id, Posting::Charge),
        ("POST", ["folios", id, "payments"]) => post(world, request, id, Posting::Payment),
        ("POST", ["folios", id, "refunds"]) => post(world, request, id, Posting::Refund),
        ("POST", ["folios", id, "close"]) => close(world, request, id),
        _ => Err(request.unknown()),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Posting {
    Charge,
    Payment,
    Refund,
}

fn list(world: &World, request: &Request) -> Result<Answer, Problem> {
    pages::page(request, world.folios.of_tenant(&request.tenant_id), |folio| match folio.state {
        FolioState::BalanceDue => "balance_due",
        FolioState::Settled => "settled",
        FolioState::Closed => "closed",
    })
}

/// What the property's drawer should hold: all payments less all refunds.
fn cash_drawer(world: &World, request: &Request) -> Result<Answer, Problem> {
    let property = pages::property(world, request)?;
    let tenant = world.tenant(&request.tenant_id).ok_or_else(|| request.unknown())?;
    let sum = |entries: &[Entry]| -> i64 {
        entries.iter().filter_map(|entry| entry.amount.as_micro()).sum()
    };
    let expected_micro: i64 = world
        .folios
        .of_tenant(&request.tenant_id)
        .filter(|folio| folio.property_id == property.id)
        .map(|folio| sum(&folio.payments) - sum(&folio.refunds))
        .sum();
    Ok(Answer::ok(json!({ "data": {
        "propertyId": property.id,
        "state": "open",
        "expected": Money::micro(expected_micro, tenant.currency),
        "asOf": request.at,
    } })))
}

/// Body `{amount: {amountMicro, currency}, description?}`.
fn post(
    world: &mut World,
    request: &Request,
    id: &str,
    posting: Posting,
) -> Result<Answer, Problem> {
    let amount: Money =
        serde_json::from_value(request.body["amount"].clone()).map_err(|error| {
            Problem::invalid(format!("amount must be {{amountMicro: text, currency}}: {error}"))
        })?;
    let micro = amount.as_micro().filter(|micro| *micro > 0);
    let micro = micro.ok_or_else(|| Problem::invalid("amountMicro must be a positive integer"))?;
    let threshold = world.tenant(&request.tenant_id).map(|tenant| &tenant.large_charge_threshold);
    let is_large = threshold.and_then(Money::as_micro).is_some_and(|from| from <= micro);
    if posting == Posting::Refund || posting == Posting::Charge && is_large {
        request.check_attestation()?;
    }
    let folio = open_folio(world, request, id)?;
    if amount.currency != folio.balance.currency {
        let message = format!("the folio is kept in {}", folio.balance.currency);
        return Err(Problem::invalid(message));
    }
    let (prefix, list, change_micro) = match posting {
        Posting::Charge => ("chg", &mut folio.charges, micro),
        Posting::Payment => ("fpm", &mut folio.payments, -micro),
        Posting::Refund => ("frd", &mut folio.refunds, micro),
    };
    list.push(Entry {
        id: identifier::fresh(prefix),
        amount,
        description: request.optional_text("description").unwrap_or_default().into(),
    });
    folio.move_balance(change_micro);
    let folio = folio.clone();
    Ok(changed(request, &folio, "balance_changed").status(StatusCode::CREATED))
}

fn close(world: &mut World, request: &Request, id: &str) -> Result<Answer, Problem> {
    let folio = open_folio(world, request, id)?;
    if folio.state == FolioState::BalanceDue {
        return Err(Problem::conflict(
            "MELMASTOON.BILLING.BALANCE_DUE",
            "a folio with a balance due cannot be closed",
        ));
    }
    folio.state = FolioState::Closed;
    let folio = folio.clone();
    Ok(changed(request, &folio, "closed"))
}

fn open_folio<'world>(
    world: &'world mut World,
    request: &Request,
    id: &str,
) -> Result<&'world mut Folio, Problem> {
    let folio = world.folios.get_mut(&request.tenant_id, id);
    let folio = folio.filter(|folio| request.concerns(&folio.property_id));
    let folio = folio.ok_or_else(|| no_folio(id))?;
    if folio.state == FolioState::Closed {
        return Err(Problem::conflict("MELMASTOON.BILLING.FOLIO_CLOSED", "the folio is closed"));
    }
    Ok(folio)
}

fn changed(request: &Request, folio: &Folio, past: &str) -> Answer {
    let payload = json!({
        "folioId": folio.id,
        "propertyId": folio.property_id,
        "state": folio.state,
        "at": request.at,
    });
    let subject = format!("melmastoon.billing.folio.{past}.v1");
    let event = feed::event(Producer::Billing, &subject, &request.tenant_id, payload);
    Answer::ok(json!({ "data": folio })).event(event)
}

fn no_folio(id: &str) -> Problem {
    Problem::not_found(format!("no folio {id}"))
}
