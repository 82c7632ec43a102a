//! A component that may become a tool: its bytes, its name in the log, its manifest and what it imports.
//! It never compiles or runs anything, and never looks at code: that is done where it can do no harm.

use crate::backend::wasm::manifest::{MANIFEST_BYTES_MAX, Manifest, SECTION};
use crate::error::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use wasmparser::{ComponentExternalKind, ComponentImportSectionReader, ComponentTypeRef, Encoding, Parser, Payload};

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
        let found = look(&bytes)?;
        let Some(manifest) = found.manifest else {
            return Err(Error::operator(format!("the component has no manifest: no custom section \"{SECTION}\""))
                .hint("tools-wasm/README.md says how to put one in"));
        };
        let manifest = Manifest::parse(&manifest)?;
        if !found.is_tool {
            let what = format!("the component is of another world: it exports no function \"{EXPORT}\"");
            return Err(Error::operator(what).hint("build it for the world `tool` of tools-wasm/wit/tool.wit"));
        }
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

/// What the outermost component says.
#[derive(Default)]
struct Found {
    manifest: Option<Vec<u8>>,
    imports: Vec<String>,
    is_tool: bool,
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
    // Modules and components inside of this one: their sections are not its own.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| broken(&error))?;
        if matches!(payload, Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) {
            depth += 1;
        } else if matches!(payload, Payload::End(_)) {
            depth = depth.saturating_sub(1);
        } else if depth == 0 {
            found.take(payload)?;
        }
    }
    Ok(found)
}

impl Found {
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
            }
            return Ok(());
        }
        if let Payload::CustomSection(section) = payload
            && section.name() == SECTION
        {
            if self.manifest.is_some() {
                return Err(Error::operator("it has two manifests").hint("one section \"stockade:tool\" is a manifest"));
            }
            // One byte more than is allowed is enough for the manifest's own reader to say so.
            let data = section.data().get(..=MANIFEST_BYTES_MAX).unwrap_or(section.data());
            self.manifest = Some(data.to_vec());
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
