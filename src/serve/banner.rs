//! What a person who starts the product by hand wants to know.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Result;

use crate::config::{Config, Profile};
use crate::data_dir::{Credentials, DataDir, Run};

/// Prints it. Credentials are printed once, and only to a terminal; else the commands take them from their file.
pub(super) fn print(config: &Config, data_dir: &DataDir, run: &Run, fresh: Option<&Credentials>) -> Result<()> {
    let mut output = std::io::stdout();
    let fresh = fresh.filter(|_| output.is_terminal());
    write!(output, "{}", text(config, data_dir, run, fresh)?)?;
    Ok(())
}

fn text(config: &Config, data_dir: &DataDir, run: &Run, shown: Option<&Credentials>) -> Result<String> {
    let (Some(http), Some(admin)) = (run.http, run.admin) else { return Ok(String::new()) };
    let (scheme, curl) = match config.tls_cert.as_str() {
        "" => ("http", "curl".to_owned()),
        certificate => ("https", format!("curl --cacert {}", quoted(&std::path::absolute(certificate)?))),
    };
    let file = std::path::absolute(data_dir.credentials_path())?;
    let from_file = |name: &str| format!("$(sed -n 's/.*\"{name}\": \"\\(.*\\)\".*/\\1/p' {})", quoted(&file));
    let key = shown.map_or_else(|| from_file("upload_key"), |shown| shown.upload_key.clone());
    let token = shown.map_or_else(|| from_file("read_token"), |shown| shown.read_token.clone());
    let event = r#"{"specversion":"1.0","id":"hello-1","source":"/hello","type":"feature.used","data":{"feature":"first_upload"}}"#;
    let file = file.display();
    let catalogue = match config.profile()? {
        Profile::Embedded => format!("sqlite:{}", std::path::absolute(config.database_file())?.display()),
        Profile::Cluster => "postgres:host=.. dbname=.. user=..".to_owned(),
    };
    Ok(format!(
        "streamgauge is ready on {scheme}://{http}
  admin        http://{admin}/readyz  http://{admin}/metrics
  credentials  {file}

post an event:

  {curl} -i {scheme}://{http}/v1/events -H \"X-API-Key: {key}\" -H 'Content-Type: application/cloudevents+json' \\
    -d '{event}'

read it back:

  {curl} {scheme}://{http}/v1/stats/usage -H \"Authorization: Bearer {token}\"

with DuckDB:

  ATTACH 'ducklake:{catalogue}' AS lake (READ_ONLY); SELECT * FROM lake.events;

"
    ))
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    #[test]
    fn credentials_are_shown_once_and_else_named_by_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::take(&folder.path().join("it's here")).unwrap();
        let config = Config::load(&Flags::default(), []).unwrap().config;
        let address = Some("127.0.0.1:8080".parse().unwrap());
        let run = Run { pid: 1, http: address, admin: address, pgwire: None };
        let credentials =
            Credentials { project: "default".into(), upload_key: "sgk_a".into(), read_token: "sgt_b".into() };
        let shown = text(&config, &data_dir, &run, Some(&credentials)).unwrap();
        assert!(shown.contains("X-API-Key: sgk_a\"") && shown.contains("Bearer sgt_b\""), "{shown}");
        let hidden = text(&config, &data_dir, &run, None).unwrap();
        assert!(!hidden.contains("sgk_") && !hidden.contains("sgt_"), "{hidden}");
        assert!(hidden.contains(r"/it'\''s here/credentials.json')"), "{hidden}");
    }
}
