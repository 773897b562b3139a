//! Scores of a view, from 0 to 100: the formulas that Mux publishes for its viewer experience scores, and a health
//! score of our own.

/// What the scores of a part are computed from.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scored {
    /// How the attempt went.
    pub outcome: Option<Outcome>,
    /// Startup time, ms.
    pub startup_ms: Option<i64>,
    /// Stalls.
    pub rebuffer_count: i64,
    /// Stalled time, ms.
    pub rebuffer_ms: i64,
    /// Watched time, ms; 0 where stalls cannot be seen.
    pub capable_watch_ms: i64,
    /// Upscaling: greatest, and mean over playing time.
    pub upscale: Option<(f64, f64)>,
}

/// How an attempt that is over went, as far as scores care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It played, and ended without a failure.
    Played,
    /// It was left before it started.
    Ebvs,
    /// It failed, before or after it started.
    Failed,
}

/// The scores; `None` where one does not apply.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scores {
    /// Playback success.
    pub success: Option<f64>,
    /// Startup time.
    pub startup: Option<f64>,
    /// Smoothness.
    pub smoothness: Option<f64>,
    /// Video quality.
    pub video_quality: Option<f64>,
    /// Health.
    pub health: Option<f64>,
}

/// Startup score of a startup time in seconds.
#[must_use]
pub fn startup(seconds: f64) -> f64 {
    100.0 * 8.0 / (8.0 + seconds)
}

/// Smoothness score of a number of stalls and the share of watched time that they took.
#[must_use]
pub fn smoothness(count: f64, ratio: f64) -> f64 {
    f64::midpoint(100.0 / (1.0 + (count / 2.0).powi(2)).sqrt(), 100.0 * (-10.0 * ratio).exp())
}

/// Video quality score of the greatest and the mean upscaling.
#[must_use]
pub fn video_quality(upscale_max: f64, upscale_avg: f64) -> f64 {
    100.0 * (-0.33 * (0.15 * upscale_max + 0.85 * upscale_avg)).exp()
}

impl Scores {
    /// The scores of a part that is over.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts and milliseconds of one view")]
    pub fn of(scored: &Scored) -> Self {
        let Some(outcome) = scored.outcome else { return Self::default() };
        let startup = scored.startup_ms.map(|ms| startup(ms as f64 / 1000.0));
        let smoothness = (scored.capable_watch_ms > 0).then(|| {
            smoothness(scored.rebuffer_count as f64, scored.rebuffer_ms as f64 / scored.capable_watch_ms as f64)
        });
        let video_quality = scored.upscale.map(|(max, avg)| video_quality(max, avg));
        let (success, health) = match outcome {
            Outcome::Failed => (0.0, Some(0.0)),
            Outcome::Ebvs => (50.0, Some(50.0)),
            Outcome::Played => (100.0, geometric_mean(&[startup, smoothness, video_quality])),
        };
        Self { success: Some(success), startup, smoothness, video_quality, health }
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most three")]
fn geometric_mean(scores: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = scores.iter().flatten().copied().collect();
    (!known.is_empty()).then(|| known.iter().product::<f64>().powf(1.0 / known.len() as f64))
}

/// A score in hundredths of a point, rounded half up.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "0 to 10 000")]
pub fn hundredths(score: f64) -> i64 {
    (score * 100.0 + 0.5).floor() as i64
}

/// The health status of a health score in hundredths.
#[must_use]
pub const fn health_status(hundredths: Option<i64>) -> &'static str {
    match hundredths {
        None => "unknown",
        Some(9000..) => "healthy",
        Some(7500..) => "good",
        Some(5000..) => "warning",
        Some(_) => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 0.05
    }

    #[test]
    fn scores_have_their_published_values() {
        for (seconds, score) in [(0.4, 95.2), (2.0, 80.0), (8.0, 50.0), (20.0, 28.6)] {
            assert!(close(startup(seconds), score), "{seconds}");
        }
        assert!(close(smoothness(0.0, 0.0), 100.0));
        assert!(close(video_quality(0.5, 0.5), 84.8));
    }

    #[test]
    fn health_is_the_geometric_mean_of_what_is_known() {
        let scored = Scored {
            outcome: Some(Outcome::Played),
            startup_ms: Some(8000),
            capable_watch_ms: 60_000,
            ..Scored::default()
        };
        let scores = Scores::of(&scored);
        assert!(close(scores.health.unwrap(), (50.0_f64 * 100.0).sqrt()));
        assert_eq!(Scores::of(&Scored { outcome: Some(Outcome::Failed), ..scored }).health, Some(0.0));
        assert_eq!(Scores::of(&Scored { outcome: Some(Outcome::Ebvs), ..scored }).health, Some(50.0));
        assert_eq!(Scores::of(&Scored { outcome: None, ..scored }), Scores::default());
        assert_eq!(
            (health_status(Some(9000)), health_status(Some(8999)), health_status(None)),
            ("healthy", "good", "unknown")
        );
    }
}
