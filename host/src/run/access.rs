//! The application and the password to it.

use std::sync::Arc;

use crate::application::bitbucket::{Bitbucket, Settings};
use crate::application::commanded::Commanded;
use crate::application::{Application, NoApplication};
use crate::capability::Secret;
use crate::config;
use crate::error::Result;

/// What it takes to work with the application, the resolved password included: what a guard needs to be told.
#[derive(Debug, Clone)]
pub(super) struct Access {
    /// Its section of the configuration.
    pub(super) application: config::Application,
    /// Its password, if it has one.
    pub(super) password: Option<Secret>,
}

impl Access {
    /// Resolve the password.
    ///
    /// # Errors
    /// If the password cannot be had.
    pub(super) async fn resolve(application: &config::Application) -> Result<Self> {
        let password = match application {
            config::Application::None(_) | config::Application::Service(_) | config::Application::Command(_) => None,
            config::Application::Bitbucket(bitbucket) => {
                Some(bitbucket.password.resolve("[application] password").await?.secret)
            }
        };
        Ok(Self { application: application.clone(), password })
    }

    /// The application, ready to be asked. Calls nobody.
    ///
    /// # Errors
    /// If its settings cannot work.
    pub(super) fn connect(&self) -> Result<Arc<dyn Application>> {
        match &self.application {
            config::Application::None(_) => Ok(Arc::new(NoApplication)),
            config::Application::Service(service) => Ok(Arc::new(Commanded::services(service))),
            config::Application::Command(command) => Ok(Arc::new(Commanded::command(command))),
            config::Application::Bitbucket(bitbucket) => {
                let password = self.password.clone().unwrap_or_else(|| Secret::new(""));
                let mut settings = Settings::new(&bitbucket.url, &bitbucket.username, password);
                settings.ca_file.clone_from(&bitbucket.ca_file);
                settings.drain_timeout = bitbucket.drain_timeout.0;
                settings.max_lock_time = bitbucket.max_lock_time.0;
                settings.zero_downtime = bitbucket.zero_downtime;
                Ok(Arc::new(Bitbucket::new(settings)?))
            }
        }
    }
}
