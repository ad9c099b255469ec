//! What a member of a body has to fulfil beyond what garde has rules for.

use std::str::FromStr;

/// A rule for `#[garde(custom(…))]`: the member fulfils `condition`, or it is `INVALID`.
pub fn fulfils<T: ?Sized>(condition: impl Fn(&T) -> bool) -> impl FnOnce(&T, &()) -> garde::Result {
    move |member, ()| {
        if condition(member) { Ok(()) } else { Err(garde::Error::new("INVALID")) }
    }
}

/// Whether a text reads as a `T`, such as an id.
pub fn is<T: FromStr>(text: &str) -> bool {
    text.parse::<T>().is_ok()
}

/// Whether a text has the form of the ids of upstream services, whatever it is the id of.
pub fn is_opaque(text: &str) -> bool {
    is::<events::AlertId>(text)
}
