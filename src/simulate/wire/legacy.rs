//! The app's feed of today: an array of named events, times in seconds since 2001.

use serde_json::json;

use super::{Event, id_within};
use crate::simulate::timeline::{Deed, Session};

/// 2001-01-01T00:00:00Z in Unix milliseconds.
const EPOCH_MS: i64 = 978_307_200_000;

/// The events of a session.
pub(super) fn events(session: &Session) -> Vec<Event> {
    let session_id = session.id.to_string().to_uppercase();
    let event = |act: &crate::simulate::timeline::Act| {
        let mut feature = "";
        let layout = |place: usize| session.layouts[place].kind;
        let (name, kind, properties) = match act.deed {
            Deed::Started => ("session_start", "session.started", json!({ "is_first_launch": false })),
            Deed::StreamAdded { stream } => {
                ("stream_added", "stream.added", json!({ "platform": stream.platform, "url_domain": "example.org" }))
            }
            Deed::LayoutSwitched { from, to } => {
                ("layout_changed", "layout.switched", json!({ "from_layout": layout(from), "to_layout": layout(to) }))
            }
            Deed::AppError => (
                "error_occurred",
                "app.error",
                json!({ "error_description": "timed out", "error_domain": "NSURLErrorDomain", "error_code": -1001 }),
            ),
            Deed::Searched => {
                ("search_performed", "search.performed", json!({ "query_length": 5, "results_count": 9 }))
            }
            Deed::FeatureUsed { feature: used } => {
                feature = used;
                ("feature_used", "feature.used", json!({ "feature_name": used, "context": "toolbar" }))
            }
            Deed::Backgrounded => ("app_backgrounded", "app.backgrounded", json!({})),
            Deed::Crashed => ("crash", "app.crashed", json!({ "error": "SIGABRT" })),
            _ => return None,
        };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let seconds = (act.at - EPOCH_MS) as f64 / 1000.0;
        let body = json!({
            "name": name, "properties": properties, "timestamp": seconds, "sessionId": session_id,
            "isCritical": name == "crash",
        });
        let id = id_within(session.id, act.at);
        Some(Event { id, at: act.at, kind: kind.to_owned(), feature, body: body.to_string() })
    };
    session.acts.iter().filter_map(event).collect()
}
