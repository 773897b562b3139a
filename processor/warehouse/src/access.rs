//! Who may post and read: projects, upload keys, service tokens. Secrets are stored as SHA-256 only.

use std::collections::HashMap;
use std::sync::Arc;

use schemas::digest::sha256_hex;
use schemas::{Scope, Timestamp};
use thiserror::Error;
use uuid::Uuid;

use crate::database::{Row, Statement, sql};
use crate::open::Warehouse;

/// Why a project, key or token could not be read or changed.
#[derive(Debug, Error)]
pub enum AccessError {
    /// The database failed.
    #[error("read or change keys and tokens in the warehouse database")]
    Database(#[from] sqlx::Error),
    /// There is no such project.
    #[error("there is no project `{0}`")]
    NoSuchProject(String),
    /// There is no such key or token, or it is revoked already.
    #[error("there is no key or token `{0}` that could be revoked")]
    NoSuchCredential(String),
    /// The value is already in use.
    #[error("this value is in use already")]
    ValueTaken,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub project: Arc<str>,
    /// Whether requests of the app's old feeds are admitted without a key.
    pub keyless_legacy: bool,
}

/// An upload key, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadKey {
    /// Its id.
    pub key_id: String,
    /// Its project.
    pub project: Arc<str>,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created_at: String,
    /// When it was revoked.
    pub revoked_at: Option<String>,
}

/// A service token, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceToken {
    /// Its id.
    pub token_id: String,
    /// Its project.
    pub project: Arc<str>,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Arc<[Scope]>,
    /// When it was made.
    pub created_at: String,
    /// When it was revoked.
    pub revoked_at: Option<String>,
}

/// Everything that vouches, by hash: what authentication looks into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Projects by name.
    pub projects: HashMap<Arc<str>, Project>,
    keys: HashMap<String, Arc<str>>,
    tokens: HashMap<String, (Arc<str>, Arc<[Scope]>)>,
}

impl Access {
    /// The project of an upload key. Compares hashes: the time tells nothing about the key.
    #[must_use]
    pub fn upload_key(&self, value: &str) -> Option<Arc<str>> {
        self.keys.get(&sha256_hex(value.as_bytes())).cloned()
    }

    /// Project and scopes of a service token.
    #[must_use]
    pub fn service_token(&self, value: &str) -> Option<(Arc<str>, Arc<[Scope]>)> {
        self.tokens.get(&sha256_hex(value.as_bytes())).cloned()
    }
}

impl Warehouse {
    /// Everything that vouches now.
    ///
    /// # Errors
    ///
    /// [`AccessError::Database`].
    pub async fn access(&self) -> Result<Access, AccessError> {
        let mut access = Access::default();
        let mut read = self.shared.database.read().await?;
        let rows = sql("SELECT project, keyless_legacy FROM projects").rows(&mut read).await?;
        for row in &rows {
            let name: Arc<str> = row.get::<String>(0).into();
            let project = Project { project: Arc::clone(&name), keyless_legacy: row.get(1) };
            access.projects.insert(name, project);
        }
        let rows = sql("SELECT key_sha256, project FROM upload_keys WHERE revoked_at IS NULL").rows(&mut read).await?;
        access.keys = rows.iter().map(|row| (row.get(0), row.get::<String>(1).into())).collect();
        let rows = sql("SELECT token_sha256, project, scopes FROM service_tokens WHERE revoked_at IS NULL")
            .rows(&mut read)
            .await?;
        access.tokens =
            rows.iter().map(|row| (row.get(0), (row.get::<String>(1).into(), scopes(&row.get::<String>(2))))).collect();
        Ok(access)
    }

    /// Creates a project; one that is there already stays as it is. Returns whether it is new.
    ///
    /// # Errors
    ///
    /// [`AccessError::Database`].
    pub async fn create_project(
        &self,
        project: &str,
        keyless_legacy: bool,
        now: Timestamp,
    ) -> Result<bool, AccessError> {
        let insert = sql(
            "INSERT INTO projects (project, created_at, keyless_legacy) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        );
        Ok(self.change(insert.bind(project).bind(now).bind(keyless_legacy)).await? == 1)
    }

    /// Adds an upload key with this value. Returns its id.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub async fn create_upload_key(
        &self,
        project: &str,
        name: &str,
        value: &str,
        now: Timestamp,
    ) -> Result<String, AccessError> {
        let key_id = format!("key_{}", Uuid::now_v7().simple());
        let insert =
            sql("INSERT INTO upload_keys (key_id, project, name, key_sha256, created_at) VALUES ($1, $2, $3, $4, $5)")
                .bind(&key_id)
                .bind(project)
                .bind(name)
                .bind(sha256_hex(value.as_bytes()))
                .bind(now);
        self.change(insert).await.map_err(|error| refused(error, project))?;
        Ok(key_id)
    }

    /// Adds a service token with this value. Returns its id.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub async fn create_service_token(
        &self,
        project: &str,
        name: &str,
        value: &str,
        scopes: &[Scope],
        now: Timestamp,
    ) -> Result<String, AccessError> {
        let token_id = format!("token_{}", Uuid::now_v7().simple());
        let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        let insert = sql("INSERT INTO service_tokens (token_id, project, name, token_sha256, scopes, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(&token_id)
        .bind(project)
        .bind(name)
        .bind(sha256_hex(value.as_bytes()))
        .bind(words.join(","))
        .bind(now);
        self.change(insert).await.map_err(|error| refused(error, project))?;
        Ok(token_id)
    }

    /// All upload keys, also revoked ones, oldest first.
    ///
    /// # Errors
    ///
    /// [`AccessError::Database`].
    pub async fn upload_keys(&self) -> Result<Vec<UploadKey>, AccessError> {
        let rows = sql("SELECT key_id, project, name, created_at, revoked_at FROM upload_keys ORDER BY key_id")
            .rows(&mut self.shared.database.read().await?)
            .await?;
        let key = |row: &Row| UploadKey {
            key_id: row.get(0),
            project: row.get::<String>(1).into(),
            name: row.get(2),
            created_at: time(row, 3).unwrap_or_default(),
            revoked_at: time(row, 4),
        };
        Ok(rows.iter().map(key).collect())
    }

    /// All service tokens, also revoked ones, oldest first.
    ///
    /// # Errors
    ///
    /// [`AccessError::Database`].
    pub async fn service_tokens(&self) -> Result<Vec<ServiceToken>, AccessError> {
        let rows =
            sql("SELECT token_id, project, name, scopes, created_at, revoked_at FROM service_tokens ORDER BY token_id")
                .rows(&mut self.shared.database.read().await?)
                .await?;
        let token = |row: &Row| ServiceToken {
            token_id: row.get(0),
            project: row.get::<String>(1).into(),
            name: row.get(2),
            scopes: scopes(&row.get::<String>(3)),
            created_at: time(row, 4).unwrap_or_default(),
            revoked_at: time(row, 5),
        };
        Ok(rows.iter().map(token).collect())
    }

    /// Revokes an upload key or a service token by its id; running servers follow within seconds.
    ///
    /// # Errors
    ///
    /// [`AccessError::NoSuchCredential`], [`AccessError::Database`].
    pub async fn revoke(&self, id: &str, now: Timestamp) -> Result<(), AccessError> {
        let mut revoked = 0;
        for statement in [
            "UPDATE upload_keys SET revoked_at = $1 WHERE key_id = $2 AND revoked_at IS NULL",
            "UPDATE service_tokens SET revoked_at = $1 WHERE token_id = $2 AND revoked_at IS NULL",
        ] {
            revoked += self.change(sql(statement).bind(now).bind(id)).await?;
        }
        if revoked == 0 { Err(AccessError::NoSuchCredential(id.to_owned())) } else { Ok(()) }
    }

    /// Runs one statement for itself. Returns how many rows it changed.
    async fn change(&self, statement: Statement) -> Result<u64, sqlx::Error> {
        let mut transaction = self.shared.database.write().await?;
        let changed = statement.run(&mut transaction).await?;
        transaction.commit().await?;
        Ok(changed)
    }
}

fn refused(error: sqlx::Error, project: &str) -> AccessError {
    match error.as_database_error() {
        Some(database) if database.is_foreign_key_violation() => AccessError::NoSuchProject(project.to_owned()),
        Some(database) if database.is_unique_violation() => AccessError::ValueTaken,
        _ => error.into(),
    }
}

/// A time as the catalogue writes it.
fn time(row: &Row, idx: usize) -> Option<String> {
    row.get::<Option<Timestamp>>(idx).map(Timestamp::to_sql)
}

fn scopes(words: &str) -> Arc<[Scope]> {
    words.split(',').filter_map(Scope::parse).collect()
}
