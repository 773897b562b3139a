//! Scores of a view, in points, and as they are kept: hundredths, rounded half up.

/// How a view went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Outcome {
    #[default]
    Played,
    PlaybackFailure,
    StartupFailure,
    StartupBusiness,
    /// Exit before video start.
    Ebvs,
    AbandonedEarly,
    LeftUnstarted,
}

impl Outcome {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Played => "played",
            Self::PlaybackFailure => "playback_failure",
            Self::StartupFailure => "startup_failure",
            Self::StartupBusiness => "startup_business",
            Self::Ebvs => "ebvs",
            Self::AbandonedEarly => "abandoned_early",
            Self::LeftUnstarted => "left_unstarted",
        }
    }

    /// Whether it has scores at all.
    const fn is_scored(self) -> bool {
        !matches!(self, Self::AbandonedEarly | Self::LeftUnstarted)
    }
}

/// What scores are made of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Report {
    pub(super) outcome: Outcome,
    pub(super) startup_ms: Option<i64>,
    pub(super) is_state_only: bool,
    pub(super) rebuffers: i64,
    pub(super) rebuffer_ms: i64,
    pub(super) watch_ms: i64,
    /// Greatest upscaling, and its sum over playing time with that time.
    pub(super) upscale: Option<(f64, f64, f64)>,
}

pub(super) fn success(report: &Report) -> Option<f64> {
    match report.outcome {
        Outcome::Played => Some(100.0),
        Outcome::PlaybackFailure | Outcome::StartupFailure | Outcome::StartupBusiness => Some(0.0),
        Outcome::Ebvs => Some(50.0),
        Outcome::AbandonedEarly | Outcome::LeftUnstarted => None,
    }
}

pub(super) fn startup(report: &Report) -> Option<f64> {
    report.startup_ms.map(|ms| 100.0 * 8.0 / (8.0 + float(ms) / 1000.0))
}

pub(super) fn smoothness(report: &Report) -> Option<f64> {
    if !report.outcome.is_scored() || report.is_state_only || report.watch_ms == 0 {
        return None;
    }
    let half = float(report.rebuffers) / 2.0;
    let often = 100.0 / half.mul_add(half, 1.0).sqrt();
    let long = 100.0 * (-10.0 * float(report.rebuffer_ms) / float(report.watch_ms)).exp();
    Some(f64::midpoint(often, long))
}

pub(super) fn video_quality(report: &Report) -> Option<f64> {
    let (greatest, weighted, ms) = report.upscale.filter(|(.., ms)| report.outcome.is_scored() && *ms > 0.0)?;
    Some(100.0 * (-0.33 * (0.15 * greatest + 0.85 * weighted / ms)).exp())
}

pub(super) fn health(report: &Report) -> Option<f64> {
    if report.outcome != Outcome::Played {
        return success(report);
    }
    let scores: Vec<f64> = [startup(report), smoothness(report), video_quality(report)].into_iter().flatten().collect();
    let product: f64 = scores.iter().product();
    (!scores.is_empty()).then(|| product.powf(1.0 / float(i64::try_from(scores.len()).unwrap_or(1))))
}

/// The band of a health score in hundredths.
pub(super) const fn band(health: Option<i64>) -> &'static str {
    match health {
        Some(9_000..) => "health_healthy",
        Some(7_500..) => "health_good",
        Some(5_000..) => "health_warning",
        Some(_) => "health_error",
        None => "health_unknown",
    }
}

#[expect(clippy::cast_possible_truncation, reason = "between 0 and 10 000")]
pub(super) fn hundredths(points: f64) -> i64 {
    (points * 100.0 + 0.5).floor() as i64
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(super) const fn float(whole: i64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_as_published() {
        let of = |ms| startup(&Report { startup_ms: Some(ms), ..Report::default() }).map(hundredths);
        assert_eq!([of(400), of(2_000), of(8_000), of(20_000)], [Some(9_524), Some(8_000), Some(5_000), Some(2_857)]);
        let smooth = Report { watch_ms: 1_000, ..Report::default() };
        assert_eq!(smoothness(&smooth).map(hundredths), Some(10_000));
        let half = Report { upscale: Some((0.5, 0.5 * 3.0, 3.0)), ..Report::default() };
        assert_eq!(video_quality(&half).map(hundredths), Some(8_479));
    }
}
