//! The answer to an upload: one result per event, by index.

use serde::Serialize;

use crate::outcome::Reason;

/// What the upload of one batch answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Names the batch for `GET /v1/batches/{batch_id}`.
    pub batch_id: String,
    /// One per event, in the order of the upload.
    pub results: Vec<ReceiptItem>,
}

/// What became of one event at the door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceiptItem {
    /// Place in the upload, from 0.
    pub index: u32,
    /// The event's id, derived from its bytes where it brought none.
    pub id: String,
    /// The verdict.
    pub result: ReceiptResult,
    /// Why it was quarantined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The attribute or field that broke the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// The verdict of ingest. What the processor finds later (a copy of an older event) is told by the batch's receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptResult {
    /// Durable and valid.
    Accepted,
    /// Durable, kept with a reason.
    Quarantined,
    /// A copy of an earlier event of this same upload.
    Duplicate,
}

impl ReceiptItem {
    /// A quarantined event's line.
    #[must_use]
    pub fn quarantined(index: u32, id: String, reason: Reason, field: Option<String>) -> Self {
        Self { index, id, result: ReceiptResult::Quarantined, reason: Some(reason.as_str()), field }
    }
}
