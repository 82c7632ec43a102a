//! The host's ledger: one small log that binds the sessions together, shared by every process of one user.
//! It never keeps its lock longer than one append, and its key never leaves its file and this process.

use crate::chain::{Chain, Position};
use crate::disk::{Disk, Settle, Wait, ensure_dir, read_file, replace};
use crate::error::{At as _, AuditError, Result, corrupt};
use crate::merkle::{Hash, Range};
use crate::note::{Signer, Vkey, is_origin};
use crate::proof::TlogProof;
use crate::publish::Checkpoints;
use crate::record::{Body, LedgerInit, Record};
use crate::recover::{CHECKPOINTS_BYTES_MAX, Recovered, recover};
use crate::system::{Clock, Random};
use crate::text::{hex, unhex};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

const KEY_BYTES_MAX: usize = 1024;
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The first two frames of a ledger fit into this many bytes.
const START_BYTES: u64 = 4 * crate::frame::LEAF_BYTES_MAX as u64;

/// Files, clock and randomness of a machine, as arguments.
#[derive(Clone)]
pub struct Machine {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What nobody can guess.
    pub random: Arc<dyn Random>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Machine({:?})", self.disk)
    }
}

impl Machine {
    /// The real one.
    #[must_use]
    pub fn system() -> Self {
        Self {
            disk: Arc::new(crate::system::SystemDisk),
            clock: Arc::new(crate::system::SystemClock::new()),
            random: Arc::new(crate::system::SystemRandom),
        }
    }

    pub(crate) fn seed(&self) -> Result<Zeroizing<[u8; 32]>> {
        let mut seed = Zeroizing::new([0; 32]);
        self.random.fill(&mut *seed).at("draw a key from", Path::new("the random generator"))?;
        Ok(seed)
    }
}

/// A clock for logs that several processes write: their monotonic clocks cannot be compared, so it is always 0.
pub(crate) struct WallOnly<'a>(pub(crate) &'a dyn Clock);

impl Clock for WallOnly<'_> {
    fn wall_ns(&self) -> u64 {
        self.0.wall_ns()
    }

    fn mono_ns(&self) -> u64 {
        0
    }
}

/// A ledger, open for appending.
#[derive(Debug)]
pub struct Ledger {
    machine: Machine,
    dir: PathBuf,
    signer: Signer,
    /// The chain as this process last saw it; `None` after a failure. Touched only under the file lock.
    chain: Mutex<Option<Chain>>,
}

/// Where the end of the ledger is, so that an append does not read it all. Derived: a wrong one is found out by the
/// signed checkpoint, and then the whole ledger is read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFile {
    segment: u32,
    bytes: u64,
    size: u64,
    nodes: Vec<String>,
    last_commit: u64,
    wall_ns: u64,
}

impl Ledger {
    /// Opens the ledger in `dir`, whose key is `keys/ledger.key`; makes both when they are not there.
    ///
    /// # Errors
    /// `Exposed`, `Io`, `Newer`, or `Corrupt` when the ledger is shorter than what it has signed.
    pub fn open(machine: Machine, dir: &Path, keys: &Path, origin: &str) -> Result<Self> {
        if !is_origin(origin) {
            let why = format!("{origin:?} has a space, a plus or another character that a key name cannot have");
            return Err(AuditError::Invalid { what: "the origin of the ledger", why });
        }
        ensure_dir(&*machine.disk, dir)?;
        ensure_dir(&*machine.disk, keys)?;
        let lock = dir.join("lock");
        let _held = machine.disk.lock(&lock, Wait::Block).at("lock", &lock)?;
        let signer = load_or_make_key(&machine, &keys.join("ledger.key"), origin)?;
        let ledger = Self { machine, dir: dir.to_owned(), signer, chain: Mutex::new(None) };
        if ledger.is_empty()? {
            ledger.start()?;
        }
        ledger.ensure_vkey()?;
        Ok(ledger)
    }

    /// The key that verifies the ledger.
    #[must_use]
    pub fn vkey(&self) -> Vkey {
        self.signer.vkey()
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The ledger's key under another name, for follow-up logs.
    pub(crate) fn signer_named(&self, origin: &str) -> Signer {
        self.signer.renamed(origin)
    }

    /// Appends a leaf, on disk and signed when this returns. The answer proves to anyone that it is there.
    ///
    /// # Errors
    /// As any write. The next append reads the ledger anew and repairs a torn end.
    pub fn append(&self, body: impl Into<Body>) -> Result<TlogProof> {
        let record = Record::new(body);
        let lock = self.dir.join("lock");
        let mut slot = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = self.machine.disk.lock(&lock, Wait::Block).at("lock", &lock)?;
        // Taken out, so that any failure leaves `None` behind and the next append starts from the files.
        let mut chain = self.catch_up(slot.take())?;
        let clock = WallOnly(&*self.machine.clock);
        let path = chain.position().range.path_of_next();
        let receipt = chain.stage(&record, &[], &clock)?;
        let extra = Some(chain.last_leaf().to_vec());
        // What ends something is signed on disk before anyone is told; the rest is signed again by the next append.
        let ends = matches!(record.body, Body::LedgerClose(_) | Body::LedgerAfter(_));
        let note = self.settle(&mut chain, &clock, if ends { Settle::Now } else { Settle::Later })?;
        *slot = Some(chain);
        Ok(TlogProof { extra, index: receipt.n, path, checkpoint: note })
    }

    fn settle(&self, chain: &mut Chain, clock: &dyn Clock, settle: Settle) -> Result<String> {
        let (size, root) = chain.commit(clock)?;
        chain.sync()?;
        let note = self.signer.sign(size, &root);
        let disk = &self.machine.disk;
        Checkpoints::open(Arc::clone(disk), &self.dir)?.publish(&note, settle)?;
        let position = chain.position();
        let head = HeadFile {
            segment: position.segment,
            bytes: position.bytes,
            size,
            nodes: position.range.nodes().iter().map(|node| hex(node)).collect(),
            last_commit: position.last_commit,
            wall_ns: position.wall_ns,
        };
        let json = serde_json::to_vec(&head).expect("numbers and strings are JSON");
        replace(&**disk, &self.dir.join("head"), &json, Settle::Later)?;
        Ok(note)
    }

    fn start(&self) -> Result<()> {
        let Machine { disk, clock, .. } = &self.machine;
        let origin = self.signer.vkey().name().to_owned();
        // Left over from a start that was cut short: `is_empty` has seen that nothing was ever acknowledged from it.
        let segments = self.dir.join("seg");
        if let Ok(names) = disk.list(&segments) {
            for name in names {
                disk.remove(&segments.join(&name)).at("remove", &segments)?;
            }
        }
        let mut chain = Chain::create(Arc::clone(disk), &self.dir, &origin)?;
        let clock = WallOnly(&**clock);
        let vkey = self.signer.vkey().to_string();
        chain.stage(&Record::new(LedgerInit { origin, vkey }), &[], &clock)?;
        chain.commit(&clock)?;
        // The names of the files too, before anything is signed.
        chain.sync_all()?;
        self.settle(&mut chain, &clock, Settle::Now)?;
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = Some(chain);
        Ok(())
    }

    /// Whether there is no leaf, and no sign that there ever was one.
    fn is_empty(&self) -> Result<bool> {
        let disk = &*self.machine.disk;
        let first = crate::chain::segment_path(&self.dir, 0);
        let mut bytes = Vec::new();
        match disk.read(&first, 0) {
            Ok(reader) => drop(reader.take(START_BYTES).read_to_end(&mut bytes).at("read", &first)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("open", &first),
        }
        let (frames, _) = crate::frame::scan(&bytes);
        let leaf = frames.iter().any(|frame| frame.kind == crate::frame::Kind::Entry);
        let signed = read_file(disk, &self.dir.join("checkpoints"), CHECKPOINTS_BYTES_MAX)?.unwrap_or_default();
        let (notes, _) = crate::note::split_notes(&signed);
        if !leaf && !notes.is_empty() {
            return Err(corrupt(&self.dir, "it has signed checkpoints and no leaves"));
        }
        Ok(!leaf)
    }

    /// The public key lies beside the ledger; it can be derived, so it is written again when it is not there.
    fn ensure_vkey(&self) -> Result<()> {
        let (disk, path) = (&*self.machine.disk, self.dir.join("vkey"));
        let text = format!("{}\n", self.signer.vkey());
        match read_file(disk, &path, KEY_BYTES_MAX)? {
            Some(found) if found == text.as_bytes() => Ok(()),
            Some(found) if Vkey::parse(&String::from_utf8_lossy(&found)).is_some() => {
                Err(corrupt(&path, "it is not the public half of the ledger's key"))
            }
            Some(_) | None => replace(disk, &path, text.as_bytes(), Settle::Now),
        }
    }

    /// The chain as it is on disk now, other processes' leaves included.
    fn catch_up(&self, known: Option<Chain>) -> Result<Chain> {
        let vkey = self.signer.vkey();
        let disk = &self.machine.disk;
        let from = match known {
            Some(chain) => chain.position().clone(),
            None => self.read_head(&vkey)?.unwrap_or(Position { last_commit: u64::MAX, ..Position::default() }),
        };
        let Recovered { position, sealed, recovery } = recover(&**disk, &self.dir, &vkey, from)?;
        if sealed {
            return Err(corrupt(&self.dir, "a ledger is never sealed"));
        }
        let mut chain = Chain::resume(Arc::clone(disk), &self.dir, vkey.name(), position)?;
        if let Some(recovery) = recovery {
            chain.stage(&Record::new(recovery), &[], &WallOnly(&*self.machine.clock))?;
        }
        Ok(chain)
    }

    /// The stored end of the ledger, if the latest signed checkpoint vouches for it.
    fn read_head(&self, vkey: &Vkey) -> Result<Option<Position>> {
        let disk = &*self.machine.disk;
        let head = read_file(disk, &self.dir.join("head"), HEAD_BYTES_MAX)?;
        let note = read_file(disk, &self.dir.join("checkpoint"), crate::note::NOTE_BYTES_MAX)?;
        let position = head.zip(note).and_then(|(head, note)| {
            let head: HeadFile = serde_json::from_slice(&head).ok()?;
            let nodes = head.nodes.iter().map(|node| unhex(node)).collect::<Option<Vec<Hash>>>()?;
            let range = Range::restore(head.size, nodes)?;
            let signed = crate::note::SignedCheckpoint::parse(std::str::from_utf8(&note).ok()?)?;
            let checkpoint = signed.verify(vkey)?;
            let HeadFile { segment, bytes, size, last_commit, wall_ns, .. } = head;
            let matches = checkpoint.size == size && checkpoint.root == range.root();
            matches.then_some(Position { segment, bytes, range, committed: size, last_commit, wall_ns, mono_ns: 0 })
        });
        Ok(position)
    }
}

fn load_or_make_key(machine: &Machine, path: &Path, origin: &str) -> Result<Signer> {
    if let Some(text) = read_file(&*machine.disk, path, KEY_BYTES_MAX)?.map(Zeroizing::new) {
        let signer = std::str::from_utf8(&text).ok().and_then(Signer::parse);
        let signer = signer.ok_or_else(|| corrupt(path, "it is no private key of a signed note"))?;
        if signer.vkey().name() != origin {
            return Err(corrupt(path, format!("it is the key of {:?}, not of {origin:?}", signer.vkey().name())));
        }
        return Ok(signer);
    }
    let signer = Signer::from_seed(origin, &*machine.seed()?);
    replace(&*machine.disk, path, signer.to_text().as_bytes(), Settle::Now)?;
    Ok(signer)
}
