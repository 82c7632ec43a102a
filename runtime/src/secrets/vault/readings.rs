//! Secrets that are read again while a session runs, from servers that keep them.
//! It never goes on with a secret that its server takes back, and never drops one because the server is not there.

use super::{Held, Value, Vault};
use crate::error::{Error, Result};
use crate::journal::{Account, Kept, Rotated};
use crate::secrets::source::keeper::reader::{Reading, Unread};
use std::sync::{Arc, PoisonError};
use tokio::task::JoinSet;

impl Held {
    /// Why it cannot be had any more, if it cannot.
    pub(super) fn gone(&self) -> Option<String> {
        self.gone.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_gone(&self, why: Option<String>) {
        *self.gone.write().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

impl Vault {
    /// Reads every secret again that may change, each at its own pace, for as long as the future is polled: placeholders
    /// stay, and stand for the newest value. A future that is dropped leaves what was read last.
    ///
    /// # Errors
    /// The log takes no more records.
    pub async fn keep_reading(self: &Arc<Self>, account: &Account) -> Result<()> {
        let mut readings = JoinSet::new();
        for held in self.held.all().into_iter().filter(|held| held.reader.is_some()) {
            let (vault, account) = (Arc::clone(self), account.clone());
            readings.spawn(async move { vault.read_on(&held, &account).await });
        }
        while let Some(ended) = readings.join_next().await {
            ended.map_err(|_| Error::bug("the reading of a secret panicked"))??;
        }
        std::future::pending().await
    }

    async fn read_on(&self, held: &Held, account: &Account) -> Result<()> {
        let Some(reader) = &held.reader else { return Ok(()) };
        let mut reader = reader.lock().await;
        // What the server had: a session may have got something newer from elsewhere, which an old reading must not undo.
        let mut last = held.value();
        while let Some(pause) = reader.pause() {
            tokio::time::sleep(pause).await;
            match reader.again().await {
                Ok(reading) => {
                    held.set_gone(None);
                    if let Some(rotated) = self.taken(held, &last, reading) {
                        account.rotated(rotated)?;
                        last = held.value();
                    }
                }
                Err(Unread::Refused(error)) => {
                    let why = error.reports.into_iter().map(|report| report.what).collect::<Vec<_>>().join("; ");
                    tracing::warn!("{why}: requests with the secret are refused from now on");
                    held.set_gone(Some(why));
                }
                // What was read last stays good for as long as nobody says otherwise.
                Err(Unread::Failed(error)) => tracing::warn!("{error}"),
            }
        }
        Ok(())
    }

    /// Puts what was read in the place of what it was, if it is something else than was read last.
    fn taken(&self, held: &Held, last: &Value, reading: Reading) -> Option<Rotated> {
        if last.plain.bytes() == reading.value.bytes() && reading.version.is_none_or(|version| version == last.version)
        {
            return None;
        }
        let was = held.value();
        let version = reading.version.unwrap_or_else(|| self.own_version());
        held.replace(version, Arc::new(reading.value));
        Some(Rotated { name: held.name().to_owned(), was: was.version, version, kept: Kept::Source })
    }
}
