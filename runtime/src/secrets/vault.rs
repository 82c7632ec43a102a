//! The secrets of one session: placeholders, swapping, attaching.
//! It never parses what an upstream sent, and of what an agent sent only what it takes to find a placeholder's place.

mod body;
mod canary;
mod exchange;
mod fill;
mod mint;
mod patterns;
mod readings;
mod slots;

pub use body::BodyFilter;
pub use canary::{Canary, Why};
pub use slots::{Channel, Outgoing, Slots};

use crate::error::{Error, Result};
use crate::journal::Use;
use crate::secrets::oauth::Exchange;
use crate::secrets::placeholder::{Core, Placeholder, Scanner, SessionKey, Sighting};
use crate::secrets::plain::{Plain, jailed};
use crate::secrets::sigv4::KeyPair;
use crate::secrets::source::keeper::reader::Reader;
use crate::secrets::source::{Resolved, Source, Sources};
use crate::secrets::store::Store;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use stockade_audit::Machine;
use stockade_policy::{EnvName, Rule, Secret, SecretName, SecretPlace, TokenUrl};

/// Headers that servers and logs commonly repeat: no secret goes into one, whatever a profile says.
pub const REFLECTED_HEADERS: [&str; 24] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "baggage",
    "content-disposition",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "from",
    "host",
    "idempotency-key",
    "if-none-match",
    "origin",
    "range",
    "referer",
    "traceparent",
    "tracestate",
    "user-agent",
    "via",
    "x-correlation-id",
    "x-request-id",
];

/// Beginnings of more such headers.
const REFLECTED_PREFIXES: [&str; 3] = ["accept-", "x-forwarded-", "sec-"];

/// The secrets of one session. The only place that has both a placeholder and what it stands for.
#[derive(Debug)]
pub struct Vault {
    scanner: Arc<Scanner>,
    held: Shelf,
    session: SessionKey,
    machine: Machine,
    built: patterns::Built,
    /// Where what replaces a secret is kept.
    store: Option<Arc<Store>>,
    /// The next version that has no number of the operator's.
    next: AtomicU64,
}

/// Versions from here on have no number of the operator's: tokens, and secrets that were replaced and that only the
/// session keeps. Nobody rotates so often, and every JSON reader of the log takes such numbers as they are.
const OWN_VERSION_MIN: u64 = 1 << 32;
/// Values of one secret that are still scrubbed after they were replaced.
const REPLACED_KEPT: usize = 4;

/// The secrets by their placeholders: those that were loaded, and tokens that came back while the session ran.
#[derive(Debug, Clone, Default)]
struct Shelf(Arc<RwLock<BTreeMap<Core, Arc<Held>>>>);

/// One secret, loaded.
#[derive(Debug)]
struct Held {
    rule: Rule<Secret>,
    origin: Origin,
    value: RwLock<Arc<Value>>,
    /// What reads it again, where it may change.
    reader: Option<tokio::sync::Mutex<Reader>>,
    /// Why it is no more, where its source says so.
    gone: RwLock<Option<String>>,
    placeholder: Placeholder,
    /// The placeholder, as the sandbox holds it.
    text: String,
    /// Where the secret is only exchanged for what goes out.
    exchange: Option<Exchange>,
    /// Where it may be sent as it is, because it is what that place exchanges.
    endpoint: Option<TokenUrl>,
}

/// Where a secret came from.
#[derive(Debug)]
enum Origin {
    /// From its source, when the session began.
    Source(Source),
    /// From a token endpoint, while the session ran.
    Token,
}

/// What a secret is at one time. It may be replaced while a session runs; what was decided with it is carried out with it.
#[derive(Debug)]
struct Value {
    version: u64,
    plain: Arc<Plain>,
    /// What it was before, the newest last: it may still come back.
    previous: Vec<Arc<Plain>>,
}

/// A placeholder that was found in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Name of the secret; `None` for a placeholder of another session.
    pub secret: Option<String>,
    /// Where its core stands.
    pub range: Range<usize>,
}

impl Vault {
    /// Loads the secrets that a profile names, each from its source. From then on this process leaves no dump.
    ///
    /// # Errors
    /// Operator: a secret is not there, or cannot be put where the profile says. Host: the kernel refuses to keep this
    /// process out of dumps; then nothing is loaded.
    pub fn load(wanted: &[Rule<Secret>], sources: &Sources<'_>, machine: &Machine) -> Result<Self> {
        if !wanted.is_empty() {
            stockade_jail::locked::never_dump_this_process().map_err(|error| jailed(&error))?;
        }
        let scanner = Scanner::new(sources.store.host_key()?);
        let resolved = wanted.iter().map(|rule| sources.resolve(&rule.subject.name));
        let resolved: Vec<Resolved> = resolved.collect::<Result<_>>()?;
        Self::hold(wanted, resolved, scanner, Some(Arc::clone(sources.store)), machine)
    }

    fn hold(
        wanted: &[Rule<Secret>],
        resolved: Vec<Resolved>,
        scanner: Scanner,
        store: Option<Arc<Store>>,
        machine: &Machine,
    ) -> Result<Self> {
        let session = SessionKey::draw(machine)?;
        let held = Shelf::default();
        for (rule, Resolved { source, version, value, previous, reader }) in wanted.iter().zip(resolved) {
            let Secret { name, shape, place, .. } = &rule.subject;
            check_place(name, place, &value)?;
            let placeholder = scanner.key().placeholder(&session, name, version, *shape);
            let (exchange, endpoint) = match place {
                SecretPlace::Oauth { token_url, grant, client_id } => {
                    (Some(Exchange::new(token_url.clone(), *grant, client_id.clone())), Some(token_url.clone()))
                }
                SecretPlace::Header { .. }
                | SecretPlace::Basic { .. }
                | SecretPlace::Query { .. }
                | SecretPlace::Path
                | SecretPlace::Body
                | SecretPlace::Sigv4 { .. } => (None, None),
            };
            let one = Held {
                rule: rule.clone(),
                origin: Origin::Source(source),
                value: Value::first(version, value, previous),
                reader: reader.map(tokio::sync::Mutex::new),
                gone: RwLock::default(),
                text: placeholder.text(),
                placeholder,
                exchange,
                endpoint,
            };
            held.put(one);
        }
        let built = patterns::Built::default();
        let (scanner, machine, next) = (Arc::new(scanner), machine.clone(), AtomicU64::new(OWN_VERSION_MIN));
        Ok(Self { scanner, held, session, machine, built, store, next })
    }

    /// What the sandbox finds in its environment. A key pair of AWS has two variables: the placeholder stands for both
    /// halves, and `…ACCESS_KEY_ID` is followed by `…SECRET_ACCESS_KEY`.
    pub fn environment(&self) -> Vec<(EnvName, String)> {
        let mut all = Vec::new();
        for held in self.held.all() {
            let Some(name) = &held.rule.subject.env else { continue };
            all.push((name.clone(), held.text.clone()));
            if let (SecretPlace::Sigv4 { .. }, Some(prefix)) =
                (&held.rule.subject.place, name.as_str().strip_suffix("ACCESS_KEY_ID"))
            {
                let second = EnvName::parse(&format!("{prefix}SECRET_ACCESS_KEY"));
                all.extend(second.ok().map(|second| (second, held.text.clone())));
            }
        }
        all.sort();
        all
    }

    /// Whether there is no secret in it.
    pub fn is_empty(&self) -> bool {
        self.held.all().is_empty()
    }

    /// Placeholders in bytes, of this session or another of this host, in any usual spelling.
    pub fn find(&self, bytes: &[u8]) -> Vec<Found> {
        let found = self.scanner.find(bytes).into_iter();
        found.map(|Sighting { core, range, .. }| Found { secret: self.name_of(&core), range }).collect()
    }

    /// A placeholder in a host's name, as a question to the resolver or the target of a connection has it: names do not
    /// distinguish letters, and a long one is cut by dots. `Some(None)` is one of another session.
    pub fn in_name(&self, name: &str) -> Option<Option<String>> {
        let joined = name.replace('.', "");
        let found = self.find(name.as_bytes()).into_iter().chain(self.find(joined.as_bytes())).next();
        if let Some(found) = found {
            return Some(found.secret);
        }
        // Folded, only those of this session can be told: a tag has both cases.
        let folded = joined.to_ascii_lowercase().into_bytes();
        let all = self.held.all();
        let one = all.iter().find(|held| {
            let core = held.placeholder.core().to_ascii_lowercase();
            folded.windows(core.len()).any(|window| window == core)
        });
        one.map(|held| Some(held.name().to_owned()))
    }

    /// What these uses put into a request, and what was put there before: all that an answer could bring back.
    pub fn plaintexts(&self, uses: &[Use]) -> Vec<(String, Arc<Plain>)> {
        let used = |held: &Held| uses.iter().any(|used| used.name == held.name());
        self.held.all().iter().filter(|held| used(held)).flat_map(|held| held.plaintexts()).collect()
    }

    /// Every plaintext of the session: what the output of a command could show.
    pub fn all_plaintexts(&self) -> Vec<(String, Arc<Plain>)> {
        self.held.all().iter().flat_map(|held| held.plaintexts()).collect()
    }

    /// A version that has no number of the operator's.
    fn own_version(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn name_of(&self, core: &Core) -> Option<String> {
        self.held.get(core).map(|held| held.name().to_owned())
    }

    /// The secret that was loaded under a name; not a token that it was exchanged for.
    fn named(&self, name: &SecretName) -> Option<Arc<Held>> {
        self.held.all().into_iter().find(|held| held.rule.subject.name == *name && !held.is_minted())
    }
}

impl Shelf {
    fn get(&self, core: &Core) -> Option<Arc<Held>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(core).cloned()
    }

    fn all(&self) -> Vec<Arc<Held>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn put(&self, held: Held) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(*held.placeholder.core(), Arc::new(held));
    }
}

impl Value {
    fn first(version: u64, plain: Plain, previous: Option<Plain>) -> RwLock<Arc<Self>> {
        RwLock::new(Arc::new(Self {
            version,
            plain: Arc::new(plain),
            previous: previous.map(Arc::new).into_iter().collect(),
        }))
    }
}

impl Held {
    /// Whether it came back from a token endpoint while the session ran.
    fn is_minted(&self) -> bool {
        match self.origin {
            Origin::Token => true,
            Origin::Source(_) => false,
        }
    }

    /// What it is now.
    fn value(&self) -> Arc<Value> {
        Arc::clone(&self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another value in the place of the one that it has, which is scrubbed from then on as before.
    fn replace(&self, version: u64, plain: Arc<Plain>) {
        let mut value = self.value.write().unwrap_or_else(PoisonError::into_inner);
        let mut previous = value.previous.clone();
        previous.push(Arc::clone(&value.plain));
        let excess = previous.len().saturating_sub(REPLACED_KEPT);
        previous.drain(..excess);
        *value = Arc::new(Value { version, plain, previous });
    }

    fn name(&self) -> &str {
        self.rule.subject.name.as_str()
    }

    fn plaintexts(&self) -> Vec<(String, Arc<Plain>)> {
        let value = self.value();
        let own = [Arc::clone(&value.plain)].into_iter().chain(value.previous.iter().cloned());
        let exchanged = self.exchange.iter().flat_map(Exchange::plaintexts);
        own.chain(exchanged).map(|plain| (self.name().to_owned(), plain)).collect()
    }

    /// Where it goes, as the log says it.
    fn place(&self) -> String {
        match &self.rule.subject.place {
            SecretPlace::Header { name, .. } => format!("header {name}"),
            SecretPlace::Basic { .. } | SecretPlace::Oauth { .. } => "header authorization".to_owned(),
            SecretPlace::Query { name } => format!("query {name}"),
            SecretPlace::Path => "path".to_owned(),
            SecretPlace::Body => "body".to_owned(),
            SecretPlace::Sigv4 { .. } => "signature".to_owned(),
        }
    }
}

/// Whether a header is one that is commonly repeated.
fn is_reflected(name: &str) -> bool {
    REFLECTED_HEADERS.contains(&name) || REFLECTED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Refuses a place that no secret may have, and a secret that does not fit its place: before anything runs.
fn check_place(name: &SecretName, place: &SecretPlace, plain: &Plain) -> Result<()> {
    let refuse = |why: &str, hint: &str| Err(Error::operator(format!("secret \"{name}\" {why}")).hint(hint));
    let bytes = plain.bytes();
    match place {
        SecretPlace::Header { name: header, .. } if is_reflected(header) => {
            refuse(&format!("has its place in header \"{header}\", which servers repeat"), "bind it to another place")
        }
        SecretPlace::Header { .. } | SecretPlace::Basic { .. } | SecretPlace::Oauth { .. }
            if bytes.iter().any(u8::is_ascii_control) =>
        {
            refuse("has a control character, which no header can carry", "set it again without line breaks")
        }
        SecretPlace::Path if bytes.iter().any(|byte| byte.is_ascii_control() || b"/\\?#".contains(byte)) => {
            refuse("has a character that ends a segment of a path", "bind it to another place")
        }
        SecretPlace::Path if bytes.starts_with(b".") => {
            refuse("begins with a dot, which a path could take for a step", "bind it to another place")
        }
        SecretPlace::Sigv4 { .. } => KeyPair::read(plain, name.as_str()).map(drop),
        SecretPlace::Header { .. }
        | SecretPlace::Basic { .. }
        | SecretPlace::Oauth { .. }
        | SecretPlace::Query { .. }
        | SecretPlace::Path
        | SecretPlace::Body => Ok(()),
    }
}

#[cfg(test)]
mod tests;
