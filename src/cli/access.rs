//! `keys` and `tokens`: they work on the warehouse's database, beside a running server or without one.

use anyhow::Result;
use clap::{Args, Subcommand};
use schemas::{Scope, Timestamp};
use serde::Serialize;
use serde_json::json;
use warehouse::Warehouse;

use super::print;
use crate::clock::Clock;
use crate::config::{Config, PROJECT_NAME_RULE, Profile, is_project_name};
use crate::serve::{DEFAULT_PROJECT, generate};
use crate::stores::open_existing;

/// What is said of a new key and of a new token alike.
#[derive(Debug, Args)]
pub(super) struct New {
    /// What it is for.
    #[arg(long, default_value = "")]
    name: String,
    /// The project; it is created if it is not there.
    #[arg(long, default_value = DEFAULT_PROJECT, value_parser = project_name)]
    project: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysVerb {
    /// Make a key, or import a chosen value.
    Create {
        #[command(flatten)]
        new: New,
        /// A chosen value, such as the constant built into an app.
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        value: Option<String>,
    },
    /// List keys (never their values).
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key by its id.
    Revoke {
        /// The id that `list` shows.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TokensVerb {
    /// Make a service token.
    Create {
        #[command(flatten)]
        new: New,
        /// What it may do: stats:read, sql:read, exports:write, pii:read, admin.
        #[arg(long, value_delimiter = ',', default_value = "stats:read,sql:read", value_parser = scope)]
        scopes: Vec<Scope>,
    },
    /// List tokens (never their values).
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token by its id.
    Revoke {
        /// The id that `list` shows.
        id: String,
    },
}

fn project_name(name: &str) -> Result<String, &'static str> {
    if is_project_name(name) { Ok(name.to_owned()) } else { Err(PROJECT_NAME_RULE) }
}

fn scope(word: &str) -> Result<Scope, String> {
    let known = Scope::ALL.map(Scope::as_str).join(", ");
    Scope::parse(word).ok_or_else(|| format!("the scopes are {known}"))
}

/// Opens the warehouse beside a running server.
async fn open_warehouse(config: &Config) -> Result<(Warehouse, Timestamp)> {
    Ok((open_existing(config).await?, Clock::System.now()))
}

/// Creates the project of a new key or token, if it is not there. Only the first one of the embedded profile admits
/// uploads without a key.
async fn create_project(config: &Config, warehouse: &Warehouse, project: &str, now: Timestamp) -> Result<bool> {
    let keyless = project == DEFAULT_PROJECT && config.profile()? == Profile::Embedded;
    Ok(warehouse.create_project(project, keyless, now).await?)
}

pub(super) async fn keys(config: &Config, verb: KeysVerb) -> Result<()> {
    let (warehouse, now) = open_warehouse(config).await?;
    match verb {
        KeysVerb::Create { new: New { name, project, json }, value } => {
            let value = value.unwrap_or_else(|| generate("sgk_"));
            let is_new_project = create_project(config, &warehouse, &project, now).await?;
            let id = warehouse.create_upload_key(&project, &name, &value, now).await?;
            let (id, project, value) = (id.as_str(), project.as_str(), value.as_str());
            Created { what: "key", id, project, is_new_project, value }.print(json)?;
        }
        KeysVerb::List { json } => {
            for key in warehouse.upload_keys().await? {
                let row = Row {
                    id: &key.key_id,
                    project: &key.project,
                    name: &key.name,
                    scopes: String::new(),
                    created_at: &key.created_at,
                    revoked_at: key.revoked_at.as_deref(),
                };
                row.print(json)?;
            }
        }
        KeysVerb::Revoke { id } => warehouse.revoke(&id, now).await?,
    }
    warehouse.close().await;
    Ok(())
}

pub(super) async fn tokens(config: &Config, verb: TokensVerb) -> Result<()> {
    let (warehouse, now) = open_warehouse(config).await?;
    match verb {
        TokensVerb::Create { new: New { name, project, json }, scopes } => {
            let value = generate("sgt_");
            let is_new_project = create_project(config, &warehouse, &project, now).await?;
            let id = warehouse.create_service_token(&project, &name, &value, &scopes, now).await?;
            let (id, project, value) = (id.as_str(), project.as_str(), value.as_str());
            Created { what: "token", id, project, is_new_project, value }.print(json)?;
        }
        TokensVerb::List { json } => {
            for token in warehouse.service_tokens().await? {
                let row = Row {
                    id: &token.token_id,
                    project: &token.project,
                    name: &token.name,
                    scopes: token.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(","),
                    created_at: &token.created_at,
                    revoked_at: token.revoked_at.as_deref(),
                };
                row.print(json)?;
            }
        }
        TokensVerb::Revoke { id } => warehouse.revoke(&id, now).await?,
    }
    warehouse.close().await;
    Ok(())
}

/// A new key or token, and the only time that its value is shown.
#[derive(Debug)]
struct Created<'a> {
    /// `key` or `token`.
    what: &'static str,
    id: &'a str,
    project: &'a str,
    is_new_project: bool,
    value: &'a str,
}

impl Created<'_> {
    fn print(&self, json: bool) -> Result<()> {
        let Self { what, id, project, is_new_project, value } = *self;
        if json {
            return print(
                &json!({ "id": id, "project": project, "project_created": is_new_project, what: value }).to_string(),
            );
        }
        if is_new_project {
            print(&format!("created project {project}"))?;
        }
        print(&format!("{id}\n{value}\nthis value is shown only now"))
    }
}

/// A key or token without its value.
#[derive(Debug, Serialize)]
struct Row<'a> {
    id: &'a str,
    project: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    scopes: String,
    created_at: &'a str,
    revoked_at: Option<&'a str>,
}

impl Row<'_> {
    fn print(&self, json: bool) -> Result<()> {
        if json {
            return print(&serde_json::to_string(self)?);
        }
        let state = self.revoked_at.map_or_else(|| "active".to_owned(), |at| format!("revoked {at}"));
        let Self { id, project, name, scopes, created_at, .. } = self;
        print(&format!("{id}  {project}  {name}  {scopes}  {created_at}  {state}"))
    }
}
