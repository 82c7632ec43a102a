//! A component that may become a tool: its bytes, its name in the log, its manifest and what it imports.
//! It never compiles or runs anything, and never looks at code: that is done where it can do no harm.

use crate::backend::wasm::command;
use crate::backend::wasm::manifest::{MANIFEST_BYTES_MAX, Manifest, SECTION};
use crate::error::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use wasmparser::{
    ComponentExternalKind, ComponentImportSectionReader, ComponentTypeRef, CustomSectionReader, Encoding, Parser,
    Payload,
};

/// Bytes of a component at most.
pub const COMPONENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Imports and exports of a component at most, each.
const NAMES_MAX: usize = 1024;
/// The function that a tool is.
const EXPORT: &str = "call";
/// The contract that we speak; a component of another 0.1 is of the same world (semantic versioning, WIT).
const CONTRACT: &str = "stockade:tool/";
const CONTRACT_VERSION: &str = "0.1.";
/// Interfaces of WASI that a tool can import; what it gets of them is another matter.
const WASI: [&str; 7] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:http/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
const WASI_VERSION: &str = "0.2.";
const _: () = assert!(MANIFEST_BYTES_MAX < COMPONENT_BYTES_MAX);

/// A component of the world `stockade:tool/tool`, as far as its imports, exports and manifest say.
#[derive(Clone)]
pub struct Component {
    bytes: Arc<[u8]>,
    digest: [u8; 32],
    manifest: Manifest,
    imports: Vec<String>,
}

impl Component {
    /// Reads a component.
    ///
    /// # Errors
    /// Operator: it is too long, is no component or is cut, is of another world or another WASI, imports what no tool gets,
    /// or has no manifest or a wrong one.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let mut found = look(&bytes)?;
        let manifest = found.take_manifest()?.ok_or_else(|| {
            Error::operator(format!("the component has no manifest: no custom section \"{SECTION}\""))
                .hint("`stockade tool pack` puts one in")
        })?;
        let entry = command::entry(found.is_tool, found.is_command)?;
        let manifest = Manifest::parse_for(&manifest, entry)?;
        if !manifest.ceiling.network && found.imports.iter().any(|name| name.starts_with("wasi:http/outgoing")) {
            let what = format!("component \"{}\" imports wasi:http and its ceiling has no network", manifest.name);
            return Err(Error::operator(what).hint("a manifest has to ask for what its component uses: network = true"));
        }
        let digest = Sha256::digest(&bytes).into();
        Ok(Self { bytes: bytes.into(), digest, manifest, imports: found.imports })
    }

    /// Reads a component from a file.
    ///
    /// # Errors
    /// Operator: there is none, or as [`Component::parse`].
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| Error::io("read the component", path, &error);
        let limit = u64::try_from(COMPONENT_BYTES_MAX).expect("a constant below 4 GiB") + 1;
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
        Self::parse(bytes).map_err(|mut error| {
            for report in &mut error.reports {
                report.what = format!("component \"{}\": {}", path.display(), report.what);
            }
            error
        })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// SHA-256 of its bytes: what a log and a profile call it by.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What it says of itself.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The interfaces that it imports, with their versions, in its own order.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component").field("manifest", &self.manifest).field("bytes", &self.bytes.len()).finish()
    }
}

/// A component with a manifest, which becomes its last section. What came of it is read like any other.
///
/// # Errors
/// Operator: the manifest is no JSON, the component is none, or it has a manifest of its own; one of a component inside of it
/// is none.
pub fn packed(program: &[u8], manifest: &[u8]) -> Result<Vec<u8>> {
    if look(program)?.take_manifest()?.is_some() {
        return Err(Error::operator("the component has a manifest already")
            .hint("it is a tool as it is; `stockade tool inspect` shows it"));
    }
    // Without its line breaks, so that how it is written does not count.
    let manifest: serde_json::Value = serde_json::from_slice(manifest)
        .map_err(|error| Error::operator(format!("the manifest is no JSON: {error}")))?;
    let manifest = manifest.to_string();
    let length = |bytes: usize| u32::try_from(bytes).map_err(|_| Error::operator("the manifest is too long"));
    let mut body = Vec::with_capacity(SECTION.len() + manifest.len() + 8);
    leb128(&mut body, length(SECTION.len())?);
    body.extend_from_slice(SECTION.as_bytes());
    body.extend_from_slice(manifest.as_bytes());
    let mut out = program.to_vec();
    out.push(0);
    leb128(&mut out, length(body.len())?);
    out.extend_from_slice(&body);
    Ok(out)
}

/// A number as the binary format writes it (WebAssembly, 5.2.2).
fn leb128(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

/// What the outermost component says.
#[derive(Default)]
struct Found {
    /// Its manifests: one, where it is sound.
    outer: Sections,
    imports: Vec<String>,
    is_tool: bool,
    is_command: bool,
    /// Those in its own modules, where a compiler puts one that knows of no component (`#[link_section]`). What a component
    /// inside of it says is about that one, whoever made it, and speaks for nobody else.
    inner: Sections,
}

fn look(bytes: &[u8]) -> Result<Found> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(Error::operator(format!("it has more than {COMPONENT_BYTES_MAX} bytes")));
    }
    if !bytes.starts_with(b"\0asm") {
        let hint = "a component is a binary file that begins with \"\\0asm\"; text has to be assembled first";
        return Err(Error::operator("it is no WebAssembly component").hint(hint));
    }
    let mut found = Found::default();
    // The modules and components around a section, but for the outermost.
    let mut around: Vec<Encoding> = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| broken(&error))?;
        match (payload, around.as_slice()) {
            (Payload::ModuleSection { .. }, _) => around.push(Encoding::Module),
            (Payload::ComponentSection { .. }, _) => around.push(Encoding::Component),
            (Payload::End(_), _) => drop(around.pop()),
            (payload, []) => found.take(payload)?,
            (Payload::CustomSection(section), [Encoding::Module]) => found.inner.put(&section),
            (_, [_, ..]) => {}
        }
    }
    Ok(found)
}

impl Found {
    /// Its manifest: who packed it has the last word, and a compiler the one before.
    fn take_manifest(&mut self) -> Result<Option<Vec<u8>>> {
        let place = if matches!(self.outer, Sections::None) { &mut self.inner } else { &mut self.outer };
        match std::mem::take(place) {
            Sections::None => Ok(None),
            Sections::One(manifest) => Ok(Some(manifest)),
            Sections::More => {
                Err(Error::operator("it has two manifests").hint("one section \"stockade:tool\" is a manifest"))
            }
        }
    }

    fn take(&mut self, payload: Payload<'_>) -> Result<()> {
        if let Payload::Version { encoding: Encoding::Module, .. } = payload {
            let hint = "a module becomes a component with `wasm-tools component new`, or build for wasm32-wasip2";
            return Err(Error::operator("it is a core module and no component").hint(hint));
        }
        if let Payload::ComponentImportSection(section) = payload {
            return self.take_imports(section);
        }
        if let Payload::ComponentExportSection(section) = payload {
            for export in section {
                let export = export.map_err(|error| broken(&error))?;
                self.is_tool |= export.kind == ComponentExternalKind::Func && export.name.name == EXPORT;
                let is_interface = export.kind == ComponentExternalKind::Instance;
                self.is_command |= is_interface && export.name.name.starts_with(command::EXPORT);
            }
            return Ok(());
        }
        if let Payload::CustomSection(section) = payload {
            self.outer.put(&section);
        }
        Ok(())
    }

    fn take_imports(&mut self, section: ComponentImportSectionReader<'_>) -> Result<()> {
        for import in section {
            let import = import.map_err(|error| broken(&error))?;
            // Types by themselves give nothing: a world that uses a record imports its name.
            if matches!(import.ty, ComponentTypeRef::Type(_)) {
                continue;
            }
            let name = import.name.name;
            if self.imports.len() == NAMES_MAX {
                return Err(Error::operator(format!("it imports more than {NAMES_MAX} interfaces")));
            }
            known(name)?;
            self.imports.push(name.to_owned());
        }
        Ok(())
    }
}

/// The manifests in one place.
#[derive(Default)]
enum Sections {
    #[default]
    None,
    One(Vec<u8>),
    More,
}

impl Sections {
    /// Keeps a section that is a manifest.
    fn put(&mut self, section: &CustomSectionReader<'_>) {
        if section.name() != SECTION {
            return;
        }
        *self = match self {
            // One byte more than is allowed is enough for the manifest's own reader to say so.
            Self::None => Self::One(section.data().get(..=MANIFEST_BYTES_MAX).unwrap_or(section.data()).to_vec()),
            Self::One(_) | Self::More => Self::More,
        };
    }
}

/// Whether tools can import an interface of this name.
fn known(name: &str) -> Result<()> {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let (ours, wanted) = match interface {
        _ if interface.starts_with(CONTRACT) => ("the contract of tools", CONTRACT_VERSION),
        _ if WASI.iter().any(|package| interface.starts_with(package)) => ("WASI", WASI_VERSION),
        _ => {
            return Err(Error::operator(format!("it imports \"{name}\", which no tool gets"))
                .hint("tools import interfaces of stockade:tool and of WASI 0.2"));
        }
    };
    if version.starts_with(wanted) {
        return Ok(());
    }
    Err(Error::operator(format!("it imports \"{name}\", and this is {ours} {wanted}x"))
        .hint("build it again, against the interfaces of tools-wasm/wit"))
}

fn broken(error: &wasmparser::Error) -> Error {
    Error::operator(format!("it is cut or malformed at byte {}: {}", error.offset(), error.message()))
        .hint("build or fetch it again")
}
