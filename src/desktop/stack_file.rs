//! `<stack dir>/env`: where everything of a development stack listens, as ops/dev/stack.sh wrote
//! it.

use std::{collections::HashMap, fs, path::Path};

use anyhow::Context;
use url::Url;

/// The addresses of one stack. Trust authentication on loopback: they hold no secret.
#[derive(Clone, Debug)]
pub struct StackFile {
    /// With the base path.
    pub backoffice_url: Url,
    pub admin_url: Url,
    pub simulator_url: Url,
    /// As the service's runtime role.
    pub database_url: String,
    /// As the role that migrates.
    pub database_owner_url: String,
    pub redis_session_url: String,
    pub redis_cache_url: String,
    /// `host:port`.
    pub pubsub_emulator_host: String,
    pub pubsub_project: String,
}

impl StackFile {
    /// # Errors
    /// There is no stack in this folder, or its file lacks something; the error names it.
    pub fn read(stack_dir: &Path) -> anyhow::Result<Self> {
        let path = stack_dir.join("env");
        let text = fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}: 'make run' makes a stack there", path.display())
        })?;
        Self::parse(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut values: HashMap<&str, &str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .collect();
        let mut take =
            |name: &str| values.remove(name).with_context(|| format!("{name} is missing"));
        let url = |name: &str, text: &str| {
            Url::parse(text).with_context(|| format!("{name} is not a URL"))
        };
        Ok(Self {
            backoffice_url: url("BACKOFFICE_URL", take("BACKOFFICE_URL")?)?,
            admin_url: url("BACKOFFICE_ADMIN_URL", take("BACKOFFICE_ADMIN_URL")?)?,
            simulator_url: url("SIMULATOR_URL", take("SIMULATOR_URL")?)?,
            database_url: take("DATABASE_URL")?.to_owned(),
            database_owner_url: take("DATABASE_OWNER_URL")?.to_owned(),
            redis_session_url: take("REDIS_SESSION_URL")?.to_owned(),
            redis_cache_url: take("REDIS_CACHE_URL")?.to_owned(),
            pubsub_emulator_host: take("PUBSUB_EMULATOR_HOST")?.to_owned(),
            pubsub_project: take("PUBSUB_PROJECT")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# Written by ops/dev/stack.sh\n\
        BACKOFFICE_URL=http://127.0.0.1:8083/bff/backoffice/v1\n\
        BACKOFFICE_ADMIN_URL=http://127.0.0.1:9083\n\
        SIMULATOR_URL=http://127.0.0.1:8090\n\
        DATABASE_URL=postgres://backoffice_app@127.0.0.1:5483/backoffice?a=b\n\
        DATABASE_OWNER_URL=postgres://backoffice_owner@127.0.0.1:5483/backoffice\n\
        REDIS_SESSION_URL=redis://127.0.0.1:6483\n\
        REDIS_CACHE_URL=redis://127.0.0.1:6484\n\
        PUBSUB_EMULATOR_HOST=127.0.0.1:8085\n\
        PUBSUB_PROJECT=melmastoon-dev\n";

    #[test]
    fn every_address_of_the_stack_is_read() {
        let stack = StackFile::parse(FILE).unwrap();
        assert_eq!(stack.backoffice_url.port(), Some(8083));
        assert_eq!(stack.admin_url.port(), Some(9083));
        assert!(stack.database_url.ends_with("?a=b"), "a value may hold an equals sign");
        assert_eq!(stack.pubsub_emulator_host, "127.0.0.1:8085");
    }

    #[test]
    fn a_missing_address_is_named() {
        let file = FILE.replace("REDIS_CACHE_URL", "REDIS_CACHE");
        let error = StackFile::parse(&file).unwrap_err();
        assert_eq!(error.to_string(), "REDIS_CACHE_URL is missing");
    }

    #[test]
    fn without_a_stack_the_way_to_one_is_named() {
        let error = StackFile::read(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("make run"));
    }
}
