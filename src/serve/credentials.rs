//! The first credentials: made once, kept in a file, and added to the warehouse wherever they are missing.

use anyhow::{Context, Result};
use schemas::{Scope, Timestamp};
use warehouse::{Access, AccessError, Warehouse};

use crate::config::{Config, Profile};
use crate::data_dir::{Credentials, DataDir, read_credentials};

/// The project of the first start.
pub(crate) const DEFAULT_PROJECT: &str = "default";
/// What the first read token, and a preset one, may do.
const READ_SCOPES: [Scope; 2] = [Scope::StatsRead, Scope::SqlRead];

/// Makes sure that project `default` is there, and that the credentials in the file and the preset ones work. Returns
/// the credentials of a first start.
///
/// The file is written before the database. So a start that is killed at any point leaves no credentials (the next one
/// is a first start), or a file whose values the next one adds.
pub(super) async fn ensure(
    config: &Config,
    data_dir: &DataDir,
    warehouse: &Warehouse,
    now: Timestamp,
) -> Result<Option<Credentials>> {
    let access = warehouse.access().await?;
    let is_first = !access.projects.contains_key(DEFAULT_PROJECT);
    let mut credentials = read_credentials(&config.data_dir)?;
    if is_first && credentials.is_none() {
        let made = make(config);
        data_dir.write_credentials(&made).context("write credentials.json")?;
        credentials = Some(made);
    }
    create_default_project(config, warehouse, &access, now).await?;
    let adding = Adding { warehouse, access, now };
    if let Some(credentials) = &credentials {
        adding.key("first start", &credentials.upload_key).await?;
        adding.token("first start", &credentials.read_token).await?;
    }
    let in_file = |value: &str| credentials.as_ref().is_some_and(|of| value == of.upload_key || value == of.read_token);
    adding.preset(config, in_file).await?;
    Ok(credentials.filter(|_| is_first))
}

/// Makes sure that project `default` is there and that the preset values work. Several processes may do so at once.
pub(super) async fn preset(config: &Config, warehouse: &Warehouse, now: Timestamp) -> Result<()> {
    if !warehouse.may_write().await? {
        // Whoever owns the tables does.
        return Ok(());
    }
    let access = warehouse.access().await?;
    create_default_project(config, warehouse, &access, now).await?;
    Adding { warehouse, access, now }.preset(config, |_| false).await
}

/// Uploads without a key are admitted where one process is the whole product, not where many may depend on it.
async fn create_default_project(config: &Config, warehouse: &Warehouse, access: &Access, now: Timestamp) -> Result<()> {
    if !access.projects.contains_key(DEFAULT_PROJECT) {
        warehouse.create_project(DEFAULT_PROJECT, config.profile()? == Profile::Embedded, now).await?;
    }
    Ok(())
}

fn make(config: &Config) -> Credentials {
    let preset = |value: &str, prefix: &str| if value.is_empty() { generate(prefix) } else { value.to_owned() };
    Credentials {
        project: DEFAULT_PROJECT.into(),
        upload_key: preset(&config.upload_key.0, "sgk_"),
        read_token: preset(&config.read_token.0, "sgt_"),
    }
}

/// Adds values that are not there. One that was revoked stays so: a start does not undo what an operator did.
struct Adding<'a> {
    warehouse: &'a Warehouse,
    access: Access,
    now: Timestamp,
}

impl Adding<'_> {
    /// The preset values, without those that were added already.
    async fn preset(&self, config: &Config, is_added: impl Fn(&str) -> bool) -> Result<()> {
        let (key, token) = (&config.upload_key.0, &config.read_token.0);
        if !key.is_empty() && !is_added(key) {
            self.key("preset", key).await?;
        }
        if !token.is_empty() && !is_added(token) {
            self.token("preset", token).await?;
        }
        Ok(())
    }

    async fn key(&self, name: &str, value: &str) -> Result<()> {
        if self.access.upload_key(value).is_some() {
            return Ok(());
        }
        let added = self.warehouse.create_upload_key(DEFAULT_PROJECT, name, value, self.now).await;
        // Another process may have added it at the same moment.
        if matches!(added, Err(AccessError::ValueTaken)) && self.warehouse.access().await?.upload_key(value).is_some() {
            return Ok(());
        }
        unless_revoked(added, "upload key", name)
    }

    async fn token(&self, name: &str, value: &str) -> Result<()> {
        if self.access.service_token(value).is_some() {
            return Ok(());
        }
        let added = self.warehouse.create_service_token(DEFAULT_PROJECT, name, value, &READ_SCOPES, self.now).await;
        if matches!(added, Err(AccessError::ValueTaken))
            && self.warehouse.access().await?.service_token(value).is_some()
        {
            return Ok(());
        }
        unless_revoked(added, "read token", name)
    }
}

fn unless_revoked(added: Result<String, AccessError>, what: &str, name: &str) -> Result<()> {
    match added {
        Ok(_) => Ok(()),
        Err(AccessError::ValueTaken) => {
            tracing::warn!("the {what} of `{name}` was revoked and has no effect");
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("add the {what} of `{name}`")),
    }
}

/// A new secret: 122 random bits twice.
pub(crate) fn generate(prefix: &str) -> String {
    format!("{prefix}{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use warehouse::WarehouseConfig;

    use super::*;
    use crate::config::Flags;

    struct Place {
        folder: tempfile::TempDir,
        data_dir: DataDir,
        warehouse: Warehouse,
    }

    impl Place {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let data_dir = DataDir::take(folder.path()).unwrap();
            let config = WarehouseConfig::sqlite(folder.path().join("warehouse.db"), folder.path().join("lake"));
            Self { warehouse: Warehouse::open(&config).await.unwrap(), folder, data_dir }
        }

        async fn ensure(&self, variables: &[(&str, &str)]) -> Option<Credentials> {
            let flags = Flags { data_dir: Some(self.folder.path().into()), ..Flags::default() };
            let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
            let config = Config::load(&flags, variables).unwrap().config;
            ensure(&config, &self.data_dir, &self.warehouse, Timestamp::from_micros(0)).await.unwrap()
        }

        async fn works(&self, credentials: &Credentials) -> bool {
            let access = self.warehouse.access().await.unwrap();
            access.upload_key(&credentials.upload_key).is_some()
                && access.service_token(&credentials.read_token).is_some()
        }
    }

    #[tokio::test]
    async fn a_first_start_that_was_killed_between_its_steps_is_made_good() {
        let complete = Place::new().await;
        let credentials = complete.ensure(&[]).await.unwrap();
        assert!(complete.works(&credentials).await);
        assert!(complete.ensure(&[]).await.is_none(), "only one start is the first");
        // Each shorter prefix of: file, project, key, token.
        for steps in 1..=3 {
            let place = Place::new().await;
            place.data_dir.write_credentials(&credentials).unwrap();
            let now = Timestamp::from_micros(0);
            if steps >= 2 {
                place.warehouse.create_project(DEFAULT_PROJECT, true, now).await.unwrap();
            }
            if steps >= 3 {
                let key = &credentials.upload_key;
                place.warehouse.create_upload_key(DEFAULT_PROJECT, "first start", key, now).await.unwrap();
            }
            place.ensure(&[]).await;
            assert!(place.works(&credentials).await, "killed after {steps} steps");
        }
    }

    #[tokio::test]
    async fn preset_values_hold_and_a_revoked_one_does_not_keep_the_server_down() {
        let place = Place::new().await;
        let preset = [("STREAMGAUGE_UPLOAD_KEY", "0012345678"), ("STREAMGAUGE_READ_TOKEN", "a chosen token")];
        let first = place.ensure(&preset).await.unwrap();
        assert_eq!((first.upload_key.as_str(), first.read_token.as_str()), ("0012345678", "a chosen token"));
        assert!(place.works(&first).await);
        let later = [("STREAMGAUGE_UPLOAD_KEY", "another one")];
        place.ensure(&later).await;
        let id = place.warehouse.upload_keys().await.unwrap().last().unwrap().key_id.clone();
        assert!(place.warehouse.access().await.unwrap().upload_key("another one").is_some());
        place.warehouse.revoke(&id, Timestamp::from_micros(1)).await.unwrap();
        place.ensure(&later).await;
        assert!(place.warehouse.access().await.unwrap().upload_key("another one").is_none());
    }
}
