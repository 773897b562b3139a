//! `audit`: whether everything that must agree does, beside a running server or without one.

use anyhow::Result;
use serde_json::json;

use crate::cli::print;
use crate::config::Config;
use crate::stores;

/// At most so many findings are printed: one cause has many consequences.
const SHOWN: usize = 50;

/// Compares records, events, ledger and rollups; says whether all agree.
pub(crate) async fn audit(config: &Config, as_json: bool) -> Result<bool> {
    let warehouse = stores::open_existing(config).await?;
    let audit = warehouse.audit().await;
    warehouse.close().await;
    let audit = audit?;
    let balances = audit.findings.is_empty();
    if as_json {
        print(
            &json!({
                "commit": audit.commit.0, "files": audit.files, "records": audit.records, "events": audit.events,
                "balances": balances, "findings": audit.findings,
            })
            .to_string(),
        )?;
        return Ok(balances);
    }
    for finding in audit.findings.iter().take(SHOWN) {
        print(&format!("{}: {}: {} and {}", finding.compared, finding.place, finding.expected, finding.found))?;
    }
    if audit.findings.len() > SHOWN {
        print(&format!(".. and {} more; --json shows all", audit.findings.len() - SHOWN))?;
    }
    print(&format!(
        "{} at commit {}: {} files, {} records, {} events",
        if balances { "the books balance" } else { "the books do not balance" },
        audit.commit,
        audit.files,
        audit.records,
        audit.events
    ))?;
    Ok(balances)
}
