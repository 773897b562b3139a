//! What dashboards are told: load, startup, stalls, releases, errors, layouts, latencies, what was received.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Asking, Truth, answer, assert_percentiles, assert_ratio, float, minute_of, text};

const HOUR_MIN: i64 = 60;
const DAY_MIN: i64 = 24 * HOUR_MIN;

impl Truth {
    /// Every minute of it.
    pub(super) async fn concurrency(&self, asking: &Asking<'_>) {
        let by_minute = self.release.by(|minute, _| Some(minute));
        let columns = [
            ("tiles", "views_at_start"),
            ("viewers", "viewers_at_start"),
            ("attempts", "attempts"),
            ("started", "started"),
            ("failures", "playback_failures"),
        ];
        let mut told = 0;
        for row in answer(asking, "concurrency").await {
            let of = &by_minute[&minute_of(text(&row, "bucket_start"))];
            for (column, measure) in columns {
                assert_eq!(row[column], of.get(measure), "{column} of {row}");
                told += of.get(measure);
            }
        }
        assert_eq!(
            told,
            by_minute.values().map(|of| columns.map(|(_, measure)| of.get(measure)).iter().sum::<i64>()).sum::<i64>()
        );
    }

    pub(super) async fn startup(&self, asking: &Asking<'_>) {
        let group = |minute: i64, key: &[String]| Some((minute.div_euclid(DAY_MIN), key[1].clone(), key[0].clone()));
        let truth = self.release.distributions("startup_ms", group);
        let days = answer(asking, "startup").await;
        for row in &days {
            let day = minute_of(text(row, "day")).div_euclid(DAY_MIN);
            let values = &truth[&(day, text(row, "device_platform").to_owned(), text(row, "app_version").to_owned())];
            assert_eq!(row["starts"], values.values().sum::<i64>(), "{row}");
            assert_percentiles("startup", row, "startup_ms", values);
        }
        assert_eq!(days.len(), truth.len());
    }

    pub(super) async fn stalls(&self, asking: &Asking<'_>) {
        let by_hour = self.stream.by(|minute, key| Some((minute.div_euclid(HOUR_MIN), key[1].clone())));
        let hours = answer(asking, "stalls").await;
        for row in &hours {
            let of =
                &by_hour[&(minute_of(text(row, "hour")).div_euclid(HOUR_MIN), text(row, "stream_platform").to_owned())];
            assert_eq!(row["watch_ms"], of.get("watch_ms"), "{row}");
            assert_ratio("stalled", &row["rebuffer_ratio"], of.rebuffer_ratio());
            assert_ratio("stalls", &row["rebuffers_per_min"], of.rebuffers_per_min());
        }
        assert_eq!(hours.len(), by_hour.values().filter(|of| of.get("watch_ms") > 0).count());
        let by_stream = self.stream.by(|_, key| Some(key[0].clone()));
        for row in answer(asking, "stalled-streams").await {
            let of = &by_stream[text(&row, "stream_id")];
            assert_eq!(row["attempts"], of.get("attempts"), "{row}");
            assert_ratio("stalled", &row["rebuffer_ratio"], of.rebuffer_ratio());
        }
        let by_network = self.release.by(|_, key| Some(key[4].clone()));
        for row in answer(asking, "stall-causes").await {
            let of = &by_network[text(&row, "network")];
            let (stalls, of_the_client) = (of.get("rebuffer_count"), of.get("client_rebuffers"));
            assert_eq!((&row["rebuffers"], &row["of_the_client"]), (&json!(stalls), &json!(of_the_client)), "{row}");
        }
    }

    pub(super) async fn releases(&self, asking: &Asking<'_>) {
        let by_version = self.release.by(|_, key| (!key[0].is_empty()).then(|| key[0].clone()));
        let startups = self.release.distributions("startup_ms", |_, key| Some(key[0].clone()));
        let versions = answer(asking, "releases").await;
        for row in &versions {
            let version = text(row, "app_version");
            let of = &by_version[version];
            assert_eq!(row["attempts"], of.get("attempts"), "{row}");
            assert_ratio(version, &row["failure_rate"], of.failure_rate());
            assert_ratio(version, &row["ebvs_rate"], of.ebvs_rate());
            let crashed = of.ratio("crashed_sessions", of.get("sessions"));
            assert_ratio(version, &row["crash_free_rate"], crashed.map(|crashed| 1.0 - crashed));
            if let Some(values) = startups.get(version) {
                assert_percentiles(version, row, "startup_ms", values);
            }
        }
        assert_eq!(versions.len(), by_version.len());
    }

    pub(super) async fn exits(&self, asking: &Asking<'_>) {
        let mut truth: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for view in &self.views {
            let outcome = view.text("outcome");
            if outcome != "abandoned_early" && outcome != "left_unstarted" {
                let waited_ms = view.number("join_ms");
                let from_ms = [8_000, 4_000, 2_000, 1_000, 500, 0].into_iter().find(|from| waited_ms >= *from);
                let (attempts, ebvs) = truth.entry(from_ms.unwrap()).or_default();
                *attempts += 1;
                *ebvs += i64::from(outcome == "ebvs");
            }
        }
        let number = |row: &Value, column: &str| row[column].as_i64().unwrap();
        let rows = answer(asking, "exits").await;
        let rows =
            rows.iter().map(|row| (number(row, "waited_from_ms"), (number(row, "attempts"), number(row, "ebvs"))));
        assert_eq!(rows.collect::<BTreeMap<_, _>>(), truth);
    }

    /// By kind, code and domain. A crash has no domain of its own.
    pub(super) async fn errors(&self, asking: &Asking<'_>) {
        let kind = |key: &[String]| match (key[0].as_str(), key[2].as_str()) {
            ("playback", domain) => ("playback.error", key[1].clone(), domain.to_owned()),
            (_, "crash") => ("app.crashed", key[1].clone(), String::new()),
            (_, domain) => ("app.error", key[1].clone(), domain.to_owned()),
        };
        let truth = self.errors.by(|_, key| Some(kind(key)));
        let truth: BTreeMap<_, _> = truth
            .iter()
            .map(|((kind, code, domain), of)| ((*kind, code.as_str(), domain.as_str()), of.get("errors")))
            .collect();
        let rows = answer(asking, "errors").await;
        let rows = rows
            .iter()
            .map(|row| ((text(row, "type"), text(row, "code"), text(row, "domain")), row["errors"].as_i64().unwrap()));
        assert_eq!(rows.collect::<BTreeMap<_, _>>(), truth);
    }

    pub(super) async fn layouts(&self, asking: &Asking<'_>) {
        let by_type = self.layout.by(|_, key| Some(key[0].clone()));
        let tiles = self.layout.distributions("tile_count", |_, key| Some(key[0].clone()));
        let layouts = answer(asking, "layouts").await;
        for row in &layouts {
            let layout = text(row, "layout_type");
            let of = &by_type[layout];
            for (column, measure) in
                [("viewer_ms", "viewer_ms"), ("tile_ms", "playing_ms"), ("layouts_opened", "layouts_opened")]
            {
                assert_eq!(row[column], of.get(measure), "{column} of {row}");
            }
            let mean = tiles
                .get(layout)
                .map(|values| float(values.iter().map(|(tiles, ms)| tiles * ms).sum()) / float(values.values().sum()));
            assert_ratio(layout, &row["mean_tiles"], mean);
            let (sessions, everyone) = self.sessions_that_watch(layout);
            assert_eq!(row["sessions"], sessions, "{row}");
            assert_ratio(layout, &row["share_of_sessions"], Some(float(sessions) / float(everyone)));
        }
        assert_eq!(layouts.len(), by_type.len());
        let by_band = self.layout.by(|_, key| Some(key[1].clone()));
        let bands = answer(asking, "tiles").await;
        for row in &bands {
            let of = &by_band[text(row, "tile_band")];
            assert_ratio("stalled", &row["rebuffer_ratio"], of.rebuffer_ratio());
            let frames = of.get("dropped_frames") + of.get("rendered_frames");
            assert_ratio("dropped", &row["dropped_ratio"], of.ratio("dropped_frames", frames));
            assert_eq!(row["shifts_down"], of.get("shifts_down"), "{row}");
        }
        assert_eq!(bands.len(), by_band.len());
    }

    pub(super) async fn latencies(&self, asking: &Asking<'_>) {
        let by_platform = self.stream.distributions("latency_ms", |_, key| Some(key[1].clone()));
        let by_layout = self.layout.distributions("sync_spread_ms", |_, key| Some(key[0].clone()));
        for (name, key, metric, truth) in [
            ("latency", "stream_platform", "latency_ms", by_platform),
            ("sync", "layout_type", "sync_spread_ms", by_layout),
        ] {
            let rows = answer(asking, name).await;
            for row in &rows {
                let values = &truth[text(row, key)];
                assert_eq!(row["samples"], values.values().sum::<i64>(), "{row}");
                assert_percentiles(name, row, metric, values);
            }
            assert_eq!(rows.len(), truth.len(), "{name}");
        }
    }

    pub(super) async fn received(&self, asking: &Asking<'_>) {
        let truth = self.quality.iter().filter(|received| received.events > 0);
        let truth = truth.map(|received| {
            ((received.format.as_str(), received.kind.as_str(), received.outcome.as_str()), received.events)
        });
        // By arrival: the last are those that let log time pass, days later.
        let rows = answer(&Asking { to: "2026-03-10T00:00:00.000Z", ..*asking }, "quality").await;
        let rows = rows.iter().map(|row| {
            ((text(row, "format"), text(row, "type"), text(row, "outcome")), row["events"].as_i64().unwrap())
        });
        assert_eq!(rows.collect::<BTreeMap<_, _>>(), truth.collect::<BTreeMap<_, _>>());
    }
}
