//! Bins of distributions while they are added up.

use std::collections::HashMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};

use crate::deltas::json_of_bins;

/// Bins by the number of their name, rising, and how much is in each.
#[derive(Debug, Clone, Default)]
pub(super) struct Bins(Vec<(u32, i64)>);

impl Bins {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.count(*name, *count);
        }
    }

    fn count(&mut self, name: u32, count: i64) {
        match self.0.binary_search_by_key(&name, |(known, _)| *known) {
            Ok(place) => self.0[place].1 += count,
            Err(place) => self.0.insert(place, (name, count)),
        }
    }
}

/// Names of bins as in JSON, `latency_ms:417`. Whatever a later version calls its metrics, they add.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("fewer names than fit into memory");
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }

    /// The bins of a JSON object.
    pub(super) fn read(&mut self, json: &str) -> Result<Bins, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let bins = self.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(bins)
    }

    /// The JSON object of bins. What was added and taken away again is nothing.
    pub(super) fn write(&self, Bins(bins): &Bins) -> String {
        let something = bins.iter().filter(|(_, count)| *count != 0);
        json_of_bins(something.map(|(number, count)| (&self.names[*number as usize], *count)))
    }
}

impl<'de> DeserializeSeed<'de> for &mut Names {
    type Value = Bins;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Bins, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Names {
    type Value = Bins;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bins by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bins, A::Error> {
        let mut bins = Bins::default();
        while let Some((name, count)) = map.next_entry::<&str, i64>()? {
            bins.count(self.number(name), count);
        }
        Ok(bins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_add_up_under_their_names_and_what_is_nothing_is_not_written() {
        let mut names = Names::default();
        let mut bins = names.read(r#"{"latency_ms:417":3, "later:-7": -2}"#).unwrap();
        bins.add(&names.read(r#"{"later:-7":2,"bitrate_kbps:400":1,"latency_ms:417":1}"#).unwrap());
        assert_eq!(names.write(&bins), r#"{"latency_ms:417":4,"bitrate_kbps:400":1}"#);
        bins.add(&names.read(r#"{"latency_ms:417":-4,"bitrate_kbps:400":-1}"#).unwrap());
        assert_eq!(names.write(&bins), "{}");
        for damaged in ["", "[]", "{", r#"{"a":1}x"#, r#"{"a":"1"}"#] {
            assert!(names.read(damaged).is_err(), "{damaged}");
        }
    }
}
