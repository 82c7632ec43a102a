//! The host's ledger: one small log that binds the sessions together, shared by every process of one user.
//! It never keeps its lock longer than one append, and its key never leaves its file and this process.

use crate::chain::{Chain, Position};
use crate::disk::{Disk, Owed, Settle, Wait, ensure_dir, read_file, replace};
use crate::error::{At as _, AuditError, Result, corrupt};
use crate::merkle::{Hash, Range};
use crate::note::{Signer, Vkey, is_origin};
use crate::proof::TlogProof;
use crate::publish::Checkpoints;
use crate::record::{Body, Leaf, LedgerInit, Record, SessionId, parse_leaf};
use crate::recover::{CHECKPOINTS_BYTES_MAX, Recovered, recover};
use crate::scan::walk;
use crate::system::{Clock, Random};
use crate::text::{hex, unhex};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use zeroize::Zeroizing;

const KEY_BYTES_MAX: usize = 1024;
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The first two frames of a ledger fit into this many bytes.
const START_BYTES: u64 = 2 * (crate::frame::LEAF_BYTES_MAX + crate::frame::HEADER_BYTES) as u64;

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

    fn since_ns(&self, _moment: Instant) -> u64 {
        0
    }
}

/// Leaves behind the stored head from which on it is stored anew: reading a few leaves takes less than making a file.
const HEAD_LEAVES: u64 = 32;

/// A ledger, open for appending.
#[derive(Debug)]
pub struct Ledger {
    machine: Machine,
    dir: PathBuf,
    signer: Signer,
    /// The chain as this process last saw it; `None` after a failure. Touched only under the file lock.
    chain: Mutex<Option<Known>>,
}

/// The end of the ledger, as it is known.
#[derive(Debug)]
struct Known {
    chain: Chain,
    /// Leaves when the head was stored last.
    stored: u64,
}

/// Where the end of the ledger was a while ago, so that an append does not read it all. Derived: a wrong one is found out
/// by the checkpoint in it, and then the whole ledger is read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFile {
    /// A signed checkpoint of this size.
    note: String,
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
        self.append_with(body, Owed::default(), |_| Ok(Owed::default()))
    }

    /// [`Ledger::append`] for who has something else to bring to disk: `beside` in the same wait as the leaf, and what
    /// `then` writes with the proof in the same wait as the signature.
    pub(crate) fn append_with(
        &self,
        body: impl Into<Body>,
        beside: Owed,
        then: impl FnOnce(&TlogProof) -> Result<Owed>,
    ) -> Result<TlogProof> {
        let record = Record::new(body);
        let lock = self.dir.join("lock");
        let mut slot = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let _held = self.machine.disk.lock(&lock, Wait::Block).at("lock", &lock)?;
        // Taken out, so that any failure leaves `None` behind and the next append starts from the files.
        let mut known = self.catch_up(slot.take())?;
        let clock = WallOnly(&*self.machine.clock);
        let path = known.chain.position().range.path_of_next();
        let receipt = known.chain.stage(&record, &[], &clock)?;
        let extra = Some(known.chain.last_leaf().to_vec());
        let (size, root) = known.chain.commit(&clock)?;
        let mut owed = beside;
        known.chain.owe(&mut owed);
        owed.settle(&*self.machine.disk)?;
        let checkpoint = self.signer.sign(size, &root);
        let proof = TlogProof { extra, index: receipt.n, path, checkpoint };
        // What ends something is signed on disk before anyone is told; the rest is signed again by the next append.
        if matches!(record.body, Body::LedgerClose(_) | Body::LedgerAfter(_)) {
            self.publish(&mut known, &proof.checkpoint, then(&proof)?)?;
        } else {
            self.checkpoints()?.add(&proof.checkpoint)?;
            drop(then(&proof)?);
        }
        *slot = Some(known);
        Ok(proof)
    }

    /// Whether a session is in the ledger. Reads all of it: for the rare case that nothing else says so.
    pub(crate) fn knows(&self, sid: &SessionId) -> Result<bool> {
        let from = Position { last_commit: u64::MAX, ..Position::default() };
        let mut found = false;
        let mut visit = |_, leaf: &[u8]| {
            let named = leaf.windows(sid.as_str().len()).any(|part| part == sid.as_str().as_bytes());
            let opens = |leaf: Leaf| matches!(leaf.body, Body::LedgerOpen(open) if open.sid == *sid);
            found |= named && parse_leaf(leaf).is_ok_and(opens);
            Ok(())
        };
        walk(&*self.machine.disk, &self.dir, self.signer.vkey().name(), from, &mut visit)?;
        Ok(found)
    }

    fn checkpoints(&self) -> Result<Checkpoints> {
        Checkpoints::open(Arc::clone(&self.machine.disk), &self.dir)
    }

    /// Makes a note the latest, on disk when this returns, together with `owed`.
    fn publish(&self, known: &mut Known, note: &str, mut owed: Owed) -> Result<()> {
        let disk = &*self.machine.disk;
        let checkpoints = self.checkpoints()?;
        checkpoints.add(note)?;
        checkpoints.owe(&mut owed);
        let latest = checkpoints.latest(note)?;
        latest.owe(&mut owed);
        owed.settle(disk)?;
        // Until the name is on disk, it stands for the one before, which is as good.
        latest.take_place(disk)?;
        if known.chain.size() - known.stored >= HEAD_LEAVES {
            self.store_head(known.chain.position(), note)?;
            known.stored = known.chain.size();
        }
        Ok(())
    }

    fn store_head(&self, position: &Position, note: &str) -> Result<()> {
        let head = HeadFile {
            note: note.to_owned(),
            segment: position.segment,
            bytes: position.bytes,
            size: position.range.size(),
            nodes: position.range.nodes().iter().map(|node| hex(node)).collect(),
            last_commit: position.last_commit,
            wall_ns: position.wall_ns,
        };
        let json = serde_json::to_vec(&head).expect("numbers and strings are JSON");
        replace(&*self.machine.disk, &self.dir.join("head"), &json, Settle::Later)
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
        let (size, root) = chain.commit(&clock)?;
        // The names of the files too, before anything is signed.
        chain.sync_all()?;
        let note = self.signer.sign(size, &root);
        let mut known = Known { chain, stored: 0 };
        self.publish(&mut known, &note, Owed::default())?;
        disk.sync_dir(&self.dir).at("sync directory", &self.dir)?;
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
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
        if starts_with_a_leaf(&bytes) {
            return Ok(false);
        }
        let signed = read_file(disk, &self.dir.join("checkpoints"), CHECKPOINTS_BYTES_MAX)?.unwrap_or_default();
        let (notes, _) = crate::note::split_notes(&signed);
        if !notes.is_empty() {
            return Err(corrupt(&self.dir, "it has signed checkpoints and no leaves"));
        }
        Ok(true)
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
    fn catch_up(&self, known: Option<Known>) -> Result<Known> {
        let vkey = self.signer.vkey();
        let disk = &self.machine.disk;
        let (from, stored) = match known {
            Some(Known { chain, stored }) => (chain.position().clone(), stored),
            None => {
                let head = self.read_head(&vkey)?;
                let from = head.unwrap_or(Position { last_commit: u64::MAX, ..Position::default() });
                let stored = from.range.size();
                (from, stored)
            }
        };
        let Recovered { position, sealed, recovery } = recover(&**disk, &self.dir, &vkey, from)?;
        if sealed {
            return Err(corrupt(&self.dir, "a ledger is never sealed"));
        }
        let mut chain = Chain::resume(Arc::clone(disk), &self.dir, vkey.name(), position)?;
        if let Some(recovery) = recovery {
            chain.stage(&Record::new(recovery), &[], &WallOnly(&*self.machine.clock))?;
        }
        Ok(Known { chain, stored })
    }

    /// The stored end of the ledger, if the signed checkpoint in it vouches for it.
    fn read_head(&self, vkey: &Vkey) -> Result<Option<Position>> {
        let head = read_file(&*self.machine.disk, &self.dir.join("head"), HEAD_BYTES_MAX)?;
        let position = head.and_then(|head| {
            let head: HeadFile = serde_json::from_slice(&head).ok()?;
            let nodes = head.nodes.iter().map(|node| unhex(node)).collect::<Option<Vec<Hash>>>()?;
            let range = Range::restore(head.size, nodes)?;
            let signed = crate::note::SignedCheckpoint::parse(&head.note)?;
            let checkpoint = signed.verify(vkey)?;
            let HeadFile { segment, bytes, size, last_commit, wall_ns, .. } = head;
            let matches = checkpoint.size == size && checkpoint.root == range.root();
            matches.then_some(Position { segment, bytes, range, committed: size, last_commit, wall_ns, mono_ns: 0 })
        });
        Ok(position)
    }
}

/// Whether the first frames of a ledger are whole and there is a leaf among them: its header is followed by one.
fn starts_with_a_leaf(bytes: &[u8]) -> bool {
    use crate::frame::{HEADER_BYTES, Kind, parse};
    let Ok(header) = parse(bytes) else { return false };
    let rest = bytes.get(HEADER_BYTES + header.payload.len()..).unwrap_or_default();
    parse(rest).is_ok_and(|frame| frame.kind == Kind::Entry)
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
