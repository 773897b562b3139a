//! How streams do, worst first, by the table of `docs/views.md`.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Asking, Of, Truth, assert_ratio, assert_within, percentile, text};

/// From worst to best.
const STATUSES: [&str; 5] = ["error", "warning", "good", "healthy", "unknown"];

fn status(of: &Of) -> &'static str {
    let (failed, stalled) = (of.failure_rate().unwrap_or(0.0), of.rebuffer_ratio().unwrap_or(0.0));
    if of.get("attempts") == 0 && of.get("watch_ms") == 0 {
        "unknown"
    } else if failed > 0.1 {
        "error"
    } else if stalled > 0.3 {
        "warning"
    } else if of.get("playback_failures") == 0 && stalled < 0.1 {
        "healthy"
    } else {
        "good"
    }
}

fn name(row: &Value) -> Vec<String> {
    ["stream_id", "stream_platform"].map(|key| text(row, key).to_owned()).to_vec()
}

impl Truth {
    /// Over windows that reach back into the fleet's day, which ended hours ago.
    pub(super) async fn health(&self, asking: &Asking<'_>, now: DateTime<Utc>) {
        let mut met = BTreeSet::new();
        for hours in [9, 12, 16, 24] {
            met.extend(self.health_of(asking, now, hours).await);
        }
        assert!(met.len() >= 3, "too few statuses to tell the worst from the best: {met:?}");
    }

    async fn health_of(&self, asking: &Asking<'_>, now: DateTime<Utc>, hours: i64) -> BTreeSet<&'static str> {
        let answer = asking.get(&format!("/v1/health/streams?window={hours}h&limit=1000")).await.json();
        let complete = DateTime::parse_from_rfc3339(answer["meta"]["complete_through"].as_str().unwrap()).unwrap();
        let this_minute = now.timestamp().div_euclid(60);
        let newest = complete.timestamp().div_euclid(60).min(this_minute) - 1;
        let window = this_minute - 60 * hours..=this_minute;
        let within = |minute: i64, key: &[String]| window.contains(&minute).then(|| key.to_vec());
        let truth = self.stream.by(within);
        let startups = self.stream.distributions("startup_ms", within);
        let watched = self.stream.by(|minute, key| (minute == newest).then(|| key.to_vec()));

        // When a device with a wrong clock watched is not known.
        let blurred: BTreeSet<&Vec<String>> =
            self.stream.sums.iter().filter(|sums| sums.minute.is_none()).map(|sums| &sums.key).collect();
        let mut ranked: Vec<(&Vec<String>, &Of)> = truth.iter().filter(|(key, _)| !blurred.contains(key)).collect();
        let rank = |of: &Of| STATUSES.iter().position(|word| *word == status(of));
        // Ratios are not below 0: as bits they sort like the numbers they are.
        ranked.sort_by_key(|(key, of)| (rank(of), Reverse(of.rebuffer_ratio().unwrap_or(0.0).to_bits()), *key));
        let rows: Vec<&Value> = answer["data"].as_array().unwrap().iter().collect();
        let rows: Vec<&Value> = rows.into_iter().filter(|row| !blurred.contains(&name(row))).collect();
        assert_eq!(
            rows.iter().map(|row| (name(row), text(row, "status"))).collect::<Vec<_>>(),
            ranked.iter().map(|(key, of)| ((*key).clone(), status(of))).collect::<Vec<_>>(),
            "{hours} h"
        );
        for (row, (key, of)) in rows.iter().zip(&ranked) {
            assert_eq!(row["attempts"], of.get("attempts"), "{row}");
            assert_eq!(row["views_now"], watched.get(*key).map_or(0, |of| of.get("views_at_start")), "{row}");
            assert_ratio("failed", &row["failure_rate"], of.failure_rate());
            assert_ratio("early", &row["ebvs_rate"], of.ebvs_rate());
            assert_ratio("stalled", &row["rebuffer_ratio"], of.rebuffer_ratio());
            assert_ratio("stalls", &row["rebuffers_per_min"], of.rebuffers_per_min());
            let startup = startups.get(*key).and_then(|values| percentile(values, 95));
            assert_within("startup", &row["startup_ms_p95"], startup, 0.010_001);
            // The last digit of a score, a hundredth, is no part of the rules.
            let score = of.ratio("health_sum", 100 * of.get("health_n"));
            assert_within("score", &row["health_score"], score, score.map_or(0.0, |score| 0.01 / score.max(1.0)));
        }
        let by_name = asking.get(&format!("/v1/health/streams?window={hours}h&limit=1000&order=name")).await.json();
        assert!(by_name["data"].as_array().unwrap().iter().map(name).is_sorted(), "{by_name}");
        assert_eq!(by_name["data"].as_array().unwrap().len(), answer["data"].as_array().unwrap().len());
        ranked.iter().map(|(_, of)| status(of)).collect()
    }
}
