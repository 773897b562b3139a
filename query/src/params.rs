//! Query parameters, read with an answer that names the parameter and the rule.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::rollups::Grain;
use schemas::{Problem, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::local_time::Zone;

/// The parameters of a request.
pub(crate) type Params = HashMap<String, String>;

/// A parameter that is there and not empty.
pub(crate) fn text<'a>(params: &'a Params, name: &str) -> Option<&'a str> {
    params.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// An RFC 3339 time; a `+` of its zone may have become a blank on the way.
pub(crate) fn time(params: &Params, name: &'static str) -> Result<Option<Timestamp>, Problem> {
    let Some(value) = text(params, name) else { return Ok(None) };
    Timestamp::parse_rfc3339(&value.replace(' ', "+"))
        .map(Some)
        .ok_or_else(|| Problem::new(400, "bad_time", format!("{name} is an RFC 3339 time")).at(name, "rfc3339"))
}

/// A whole number from 1 to `max`.
pub(crate) fn limit(params: &Params, default: u32, max: u32) -> Result<u32, Problem> {
    number(params, ("limit", "bad_limit"), default, max)
}

/// A whole number from 1 to `max`, by the parameter's name and the code of a problem with it.
pub(crate) fn number(
    params: &Params,
    (name, code): (&'static str, &'static str),
    default: u32,
    max: u32,
) -> Result<u32, Problem> {
    let Some(value) = text(params, name) else { return Ok(default) };
    value
        .parse()
        .ok()
        .filter(|number| (1..=max).contains(number))
        .ok_or_else(|| Problem::new(400, code, format!("{name} is a number from 1 to {max}")).at(name, "range"))
}

/// The grain of parameter `grain`.
pub(crate) fn grain(params: &Params, default: Grain) -> Result<Grain, Problem> {
    let grain = text(params, "grain").map_or(Some(default), Grain::parse);
    grain.ok_or_else(|| Problem::new(400, "bad_grain", "grain is minute, hour or day").at("grain", "one_of"))
}

/// The zone of parameter `tz`, UTC without it.
pub(crate) fn zone(params: &Params) -> Result<Zone, Problem> {
    text(params, "tz").map_or(Ok(Zone::UTC), Zone::parse)
}

/// A place in a list as an opaque text.
pub(crate) fn to_cursor<T: Serialize>(place: &T) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default())
}

/// The place of parameter `cursor`.
pub(crate) fn cursor<T: DeserializeOwned>(params: &Params) -> Result<Option<T>, Problem> {
    let Some(value) = text(params, "cursor") else { return Ok(None) };
    let place = URL_SAFE_NO_PAD.decode(value).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    place.map(Some).ok_or_else(bad_cursor)
}

/// The refusal of a cursor that is not one of this request.
pub(crate) fn bad_cursor() -> Problem {
    Problem::new(400, "bad_cursor", "cursor is the next_cursor of an answer to this same request")
        .at("cursor", "cursor")
}
