//! Reads a secret from a server that keeps secrets, once or again and again: logs in, renews, logs in anew.
//! It never repeats what the server says, which may be what it was to keep, and never follows it elsewhere.

use super::{Engine, Keeper, KeeperUrl, Login, VERSION_MAX};
use crate::error::{Error, Result};
use crate::secrets::plain::{PLAIN_BYTES_MAX, Plain};
use crate::secrets::source::exec::unquote;
use crate::secrets::source::{Readers, Source, Surroundings, one_line_less, private_file};
use crate::secrets::store::read_bounded;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stockade_policy::SecretName;
use zeroize::Zeroizing;

/// Longest reply, bytes: a value of escapes alone, and other fields beside it.
pub const KEEPER_REPLY_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(KEEPER_REPLY_BYTES_MAX > 6 * PLAIN_BYTES_MAX);
/// Largest file with the server's authority.
const CA_BYTES_MAX: usize = 1 << 20;

/// Who carries requests to such a server.
pub type Carrier = Arc<dyn Fn(KeeperRequest) -> Carrying + Send + Sync>;
/// A request on its way.
pub type Carrying = Pin<Box<dyn Future<Output = Result<KeeperReply>> + Send>>;

/// A request. It holds plaintexts, which wipe themselves.
pub struct KeeperRequest {
    /// The server.
    pub url: KeeperUrl,
    /// The authority that signs for it, PEM; `None`: one of the machine's.
    pub ca: Option<Vec<u8>>,
    /// Path and query.
    pub target: String,
    /// The namespace that the path is in.
    pub namespace: Option<String>,
    /// Our token.
    pub token: Option<Zeroizing<String>>,
    /// A body makes it a `POST`, nothing a `GET`.
    pub body: Option<Zeroizing<Vec<u8>>>,
}

/// A whole reply.
pub struct KeeperReply {
    /// Status code.
    pub status: u16,
    /// The body, at most [`KEEPER_REPLY_BYTES_MAX`] long: it holds plaintexts.
    pub body: Zeroizing<Vec<u8>>,
}

/// What was read.
#[derive(Debug)]
pub struct Reading {
    /// The server's version, where it counts versions.
    pub version: Option<u64>,
    /// The value.
    pub value: Plain,
}

/// Why nothing was read.
#[derive(Debug)]
pub enum Unread {
    /// The server says that there is nothing, or nothing for us.
    Refused(Error),
    /// There was no answer, or none that says anything.
    Failed(Error),
}

/// Reads one secret, and stays logged in.
pub struct Reader {
    name: SecretName,
    keeper: Keeper,
    carrier: Carrier,
    ca: Option<Vec<u8>>,
    credential: Credential,
    token: Option<Token>,
}

/// What we log in with: read again where the platform replaces it.
enum Credential {
    File { path: PathBuf, uid: u32, readers: Readers },
    Kept(Arc<Plain>),
}

/// What we are known by, and for how long.
struct Token {
    text: Zeroizing<String>,
    life: Life,
}

#[derive(Debug, Clone, Copy)]
enum Life {
    /// Nobody said; it is asked when it matters.
    Unknown,
    /// It has no end.
    Endless,
    Until {
        renew_at: Instant,
        renewal: Renewal,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewal {
    Possible,
    Impossible,
}

/// The parts of any reply that we read.
#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    auth: Option<Auth<'a>>,
}

#[derive(Deserialize)]
struct Auth<'a> {
    #[serde(borrow)]
    client_token: &'a RawValue,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

#[derive(Deserialize)]
struct Versioned<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
}

/// What a token says of itself.
#[derive(Deserialize)]
struct OwnLife {
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("keeper", &self.keeper).finish_non_exhaustive()
    }
}

impl Unread {
    fn error(self) -> Error {
        match self {
            Self::Refused(error) | Self::Failed(error) => error,
        }
    }
}

impl Reader {
    /// A reader with what it logs in with. It asks nobody yet.
    ///
    /// # Errors
    /// Operator: the credential or the authority is not where it should be. Host: it cannot be read.
    pub(in crate::secrets) fn new(keeper: &Keeper, around: &Surroundings<'_>, name: &SecretName) -> Result<Self> {
        let (source, readers) = match &keeper.login {
            Login::Token(token) => (token, Readers::Few),
            Login::AppRole { secret_id, .. } => (secret_id, Readers::Few),
            // A platform shows a workload its token in a file that every user of its container may read.
            Login::Jwt { jwt, .. } => (jwt, Readers::All),
        };
        let credential = match source {
            Source::File(path) => Credential::File { path: path.clone(), uid: around.uid, readers },
            Source::Env(_) | Source::Fd(_) | Source::Credential(_) => {
                Credential::Kept(Arc::new(around.fetch(source, name)?))
            }
            Source::Store | Source::Exec { .. } | Source::Vault(_) => {
                return Err(Error::bug("a credential is where it cannot be"));
            }
        };
        let ca = keeper.ca.as_ref().map(|path| {
            let file = File::open(path).map_err(|error| Error::io("open the authority", path, &error))?;
            read_bounded(file, path, CA_BYTES_MAX).map(|bytes| bytes.to_vec())
        });
        Ok(Self {
            name: name.clone(),
            keeper: keeper.clone(),
            carrier: (around.carrier)()?,
            ca: ca.transpose()?,
            credential,
            token: None,
        })
    }

    /// The first reading, with the version before, which may still come back.
    ///
    /// # Errors
    /// Operator or Host: there is nothing to read, and why.
    pub(in crate::secrets) async fn first(&mut self) -> Result<(Reading, Option<Plain>)> {
        self.log_in().await.map_err(Unread::error)?;
        let pinned = match self.keeper.engine {
            Engine::One => None,
            Engine::Two { version } => version,
        };
        let reading = self.fetch(pinned).await.map_err(Unread::error)?;
        let before = reading.version.filter(|version| *version > 1).map(|version| version - 1);
        let previous = match before {
            // One that was deleted, or that we may not see, is nothing that we could have sent.
            Some(version) => self.fetch(Some(version)).await.ok().map(|reading| reading.value),
            None => None,
        };
        Ok((reading, previous))
    }

    /// Another reading in the same session. The token is renewed before its end, or we log in anew.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::secrets) async fn again(&mut self) -> std::result::Result<Reading, Unread> {
        self.stay().await?;
        match self.fetch(None).await {
            // The token may have been revoked, or be another's by now: a new one decides.
            Err(Unread::Refused(_)) => {
                self.log_in().await?;
                self.fetch(None).await
            }
            read => read,
        }
    }

    /// Time to the next reading, or to the token's renewal; `None` where nothing can change.
    pub(in crate::secrets) fn pause(&self) -> Option<Duration> {
        let every = Duration::from_secs(self.keeper.every_s()?);
        let renew = self.token.as_ref().and_then(|token| match token.life {
            Life::Until { renew_at, .. } => Some(renew_at.saturating_duration_since(Instant::now())),
            Life::Unknown | Life::Endless => None,
        });
        Some(renew.map_or(every, |renew| renew.min(every)).max(Duration::from_secs(1)))
    }

    async fn stay(&mut self) -> std::result::Result<(), Unread> {
        if matches!(self.token, Some(Token { life: Life::Unknown, .. })) {
            // Where this is not allowed, the token's end shows in a refusal, and we log in anew then.
            if let Ok(body) = self.ask("/v1/auth/token/lookup-self", None, "ask for the token's life").await
                && let Some(own) = data::<OwnLife>(&body)
            {
                self.live(own.ttl, own.renewable);
            }
        }
        let life = self.token.as_ref().map(|token| token.life);
        match life {
            Some(Life::Until { renew_at, renewal }) if Instant::now() >= renew_at => {
                let renewed = match renewal {
                    Renewal::Possible => self.renew().await,
                    Renewal::Impossible => false,
                };
                if renewed { Ok(()) } else { self.log_in().await }
            }
            Some(Life::Until { .. } | Life::Unknown | Life::Endless) => Ok(()),
            None => self.log_in().await,
        }
    }

    /// Makes the token live on; false when it cannot.
    async fn renew(&mut self) -> bool {
        let body = Zeroizing::new(b"{}".to_vec());
        let Ok(reply) = self.ask("/v1/auth/token/renew-self", Some(body), "renew the token").await else {
            return false;
        };
        match serde_json::from_slice::<Reply<'_>>(&reply).ok().and_then(|reply| reply.auth) {
            Some(auth) => {
                self.live(auth.lease_duration, auth.renewable);
                true
            }
            None => false,
        }
    }

    /// Notes how long the token lives; it is renewed after two thirds of that.
    fn live(&mut self, life_s: u64, renewable: bool) {
        let Some(token) = &mut self.token else { return };
        let renewal = if renewable { Renewal::Possible } else { Renewal::Impossible };
        // The server says any number: it must not end us.
        let after = Duration::from_secs(life_s).saturating_mul(2) / 3;
        token.life = match Instant::now().checked_add(after) {
            Some(renew_at) if life_s > 0 => Life::Until { renew_at, renewal },
            Some(_) | None => Life::Endless,
        };
    }

    async fn log_in(&mut self) -> std::result::Result<(), Unread> {
        let credential = self.credential()?;
        let (mount, words) = match &self.keeper.login {
            Login::Token(_) => {
                self.token = Some(Token { text: self.text(credential.bytes())?, life: Life::Unknown });
                return Ok(());
            }
            Login::AppRole { mount, role_id, .. } => {
                (mount, [("role_id", role_id.as_bytes()), ("secret_id", credential.bytes())])
            }
            Login::Jwt { mount, role, .. } => (mount, [("role", role.as_bytes()), ("jwt", credential.bytes())]),
        };
        let target = format!("/v1/auth/{}/login", super::encoded(mount));
        let body = object(&words).map_err(|why| Unread::Refused(self.error(why)))?;
        self.token = None;
        let reply = self.ask(&target, Some(body), "log in").await?;
        let none = || Unread::Failed(self.error("answers the login with something else than a token"));
        let auth = serde_json::from_slice::<Reply<'_>>(&reply).ok().and_then(|reply| reply.auth).ok_or_else(none)?;
        let token = unquote(auth.client_token.get()).filter(|token| !token.is_empty()).ok_or_else(none)?;
        let (life_s, renewable) = (auth.lease_duration, auth.renewable);
        self.token = Some(Token { text: self.text(&token)?, life: Life::Endless });
        self.live(life_s, renewable);
        Ok(())
    }

    fn credential(&self) -> std::result::Result<Arc<Plain>, Unread> {
        match &self.credential {
            Credential::Kept(plain) => Ok(Arc::clone(plain)),
            Credential::File { path, uid, readers } => {
                let read = private_file(path, *uid, *readers).and_then(|bytes| one_line_less(bytes, &self.name));
                read.map(Arc::new).map_err(Unread::Failed)
            }
        }
    }

    /// A token as a header can carry it.
    fn text(&self, token: &[u8]) -> std::result::Result<Zeroizing<String>, Unread> {
        let fits = token.iter().all(u8::is_ascii_graphic);
        let text = str::from_utf8(token).ok().filter(|_| fits);
        let text = text.ok_or_else(|| Unread::Refused(self.error("has a token that no header can carry")))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    async fn fetch(&self, version: Option<u64>) -> std::result::Result<Reading, Unread> {
        let body = self.ask(&self.keeper.target(version), None, "read the secret").await?;
        let odd = || Unread::Failed(self.error("answers with something else than a secret"));
        let reply: Reply<'_> = serde_json::from_slice(&body).map_err(|_| odd())?;
        let data = reply.data.ok_or_else(odd)?;
        let (found, fields) = match self.keeper.engine {
            Engine::One => (None, data),
            Engine::Two { .. } => {
                let versioned: Versioned<'_> = serde_json::from_str(data.get()).map_err(|_| {
                    Unread::Refused(self.error("answers as version 1 of the engine does").hint("add kv=1"))
                })?;
                let found = versioned.metadata.version;
                if !(1..=VERSION_MAX).contains(&found) || version.is_some_and(|wanted| wanted != found) {
                    return Err(Unread::Failed(self.error("answers with another version than was asked for")));
                }
                (Some(found), versioned.data.ok_or_else(|| Unread::Refused(self.error("has deleted that version")))?)
            }
        };
        let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(fields.get()).map_err(|_| odd())?;
        let field = &self.keeper.field;
        let raw = fields.get(field.as_str()).ok_or_else(|| {
            Unread::Refused(
                self.error(&format!("has no field \"{}\" there", field.escape_default())).hint("add field=NAME"),
            )
        })?;
        let text = unquote(raw.get()).ok_or_else(|| {
            Unread::Refused(self.error(&format!("has no text in field \"{}\"", field.escape_default())))
        })?;
        let value = Plain::copied(&text).map_err(|unfit| Unread::Refused(unfit.of(self.name.as_str())))?;
        Ok(Reading { version: found, value })
    }

    /// One request with our token.
    async fn ask(
        &self,
        target: &str,
        body: Option<Zeroizing<Vec<u8>>>,
        act: &str,
    ) -> std::result::Result<Zeroizing<Vec<u8>>, Unread> {
        let carried = (self.carrier)(KeeperRequest {
            url: self.keeper.url.clone(),
            ca: self.ca.clone(),
            target: target.to_owned(),
            namespace: self.keeper.namespace.clone(),
            token: self.token.as_ref().map(|token| token.text.clone()),
            body,
        });
        let reply = carried.await.map_err(|error| Unread::Failed(named(&self.name, error)))?;
        let at = target.split('?').next().unwrap_or_default();
        let told = |why: &str| self.error(&format!("does not {act} at \"{at}\": {why}"));
        match reply.status {
            200 if reply.body.len() <= KEEPER_REPLY_BYTES_MAX => Ok(reply.body),
            200 => Err(Unread::Failed(told("the answer is too long"))),
            300..400 => Err(Unread::Failed(told("it sends us elsewhere").hint("name the active server itself"))),
            400 => Err(Unread::Refused(told("it does not take the request").hint("check role, credential and login"))),
            403 => Err(Unread::Refused(told("permission denied").hint("check the token and its policies"))),
            404 => Err(Unread::Refused(
                told("there is nothing").hint("check mount, path, kv and namespace; or it was deleted"),
            )),
            429 => Err(Unread::Failed(told("it has too many requests, or is a standby"))),
            503 => Err(Unread::Failed(told("it is sealed, or down for maintenance").hint("unseal it"))),
            other => Err(Unread::Failed(told(&format!("it answers {other}")))),
        }
    }

    fn error(&self, what: &str) -> Error {
        Error::operator(format!("secret \"{}\": \"{}\" {what}", self.name, self.keeper.url))
    }
}

/// Says whose secret an error is about.
fn named(name: &SecretName, mut error: Error) -> Error {
    for report in &mut error.reports {
        report.what = format!("secret \"{name}\": {}", report.what);
    }
    error
}

/// What a reply has under `data`.
fn data<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    let reply: Reply<'a> = serde_json::from_slice(body).ok()?;
    serde_json::from_str(reply.data?.get()).ok()
}

/// A JSON object of texts, in memory that wipes itself and never moves.
fn object(members: &[(&str, &[u8])]) -> std::result::Result<Zeroizing<Vec<u8>>, &'static str> {
    let room = members.iter().map(|(name, value)| name.len() + 6 * value.len() + 8).sum::<usize>();
    let mut out = Zeroizing::new(Vec::with_capacity(room + 2));
    for (name, value) in members {
        let opening = if out.is_empty() { b'{' } else { b',' };
        out.push(opening);
        let value = str::from_utf8(value).map_err(|_| "has a credential that is no text")?;
        serde_json::to_writer(&mut *out, name).map_err(|_| "has a name that is no text")?;
        out.push(b':');
        serde_json::to_writer(&mut *out, value).map_err(|_| "has a credential that is no text")?;
    }
    out.push(b'}');
    Ok(out)
}
