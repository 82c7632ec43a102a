//! A layer that begins as a copy of another: what a snapshot is, and what a session begins with that goes on from one.
//! It never changes the original, and never lends the copy what was applied from the original: that is not its to undo.

use super::change::Stamp;
use super::copy::{self, Source};
use super::door::{self, Dir};
use super::error::{Fault, Named, Result, WorkspaceError};
use super::layer::{Layer, Method, Mode};
use super::path::RelPath;
use super::state::{self, Memory, Settle, Settled};
use std::collections::HashMap;
use std::path::Path;

/// Of entries of a layer, what they look like there and in the copy.
type Stamps = HashMap<RelPath, (Stamp, Stamp)>;

impl Layer {
    /// Makes a layer in the existing, empty, private directory `state` that begins with everything that waits in this one,
    /// for the same workspace and made in the same way. Nothing may write to this one meanwhile. Fifos, sockets and devices
    /// are left out. What changed on the host since this layer was made conflicts with the copy as well.
    ///
    /// # Errors
    /// This layer is of a session in direct mode; something cannot be read or written.
    pub fn fork(&self, state: &Path, mode: Mode) -> Result<Self> {
        if self.mode == Mode::Direct || mode == Mode::Direct {
            return Err(WorkspaceError::Refused {
                act: "go on from",
                object: self.state.display().to_string(),
                why: "in direct mode there is no layer".to_owned(),
                fault: Fault::Operator,
                hint: "both sessions have to be in review mode",
            });
        }
        let state = state.canonicalize().map_err(|error| state::io("find", state, &error))?;
        let shown = || state.display();
        let (home, host) = (Dir::open_ambient(&state)?, Dir::open_ambient(&self.workspace)?);
        home.make_dir(b"layer", 0o700).named("make a layer in", shown)?;
        let inside = home.child(b"layer").named("open", shown)?;
        let (workspace, started, method) = (self.workspace.clone(), self.started, self.method);
        let copy = Self { state: state.clone(), workspace, mode, method, started, home, host };
        let stamps = self.copy_to(&copy, &inside)?;
        self.remember(&copy, &stamps)?;
        copy.write_meta()?;
        Ok(copy)
    }

    fn copy_to(&self, copy: &Self, inside: &Dir) -> Result<Stamps> {
        let shown = || copy.state.display();
        let name: &[u8] = match self.method {
            Method::Overlay => {
                copy.make_upper(inside)?;
                b"upper"
            }
            Method::Copy => {
                inside.make_dir(b"tree", 0o700).named("make a layer in", shown)?;
                b"tree"
            }
        };
        let from = self.tree()?;
        let copied = copy::copy_tree(Source::Layer, &from, &copy.tree()?)?;
        let root = from.stat_self().named("look at the layer of", || self.state.display())?;
        if door::is_root() {
            inside.set_owner(name, root.uid, root.gid).named("make a layer in", shown)?;
        }
        inside.set_bits(name, root.bits()).named("make a layer in", shown)?;
        let mut stamps = Stamps::with_capacity(copied.len());
        for (path, now) in copied {
            if let Some(then) = from.stat_at(&path).named("look at", || &path)? {
                stamps.insert(path, (Stamp::from(&then), now));
            }
        }
        Ok(stamps)
    }

    /// What is known of the original's entries is known of the copy's.
    fn remember(&self, copy: &Self, stamps: &Stamps) -> Result<()> {
        let Memory { seen, settled, restored, baseline } = Memory::load(&self.state)?;
        state::write_remembered(&copy.state, seen.iter().map(|(path, seen)| (path, seen.forgetting_the_layer())))?;
        let settled = settled.into_iter().map(|(path, settled)| {
            let layer = settled.layer.map(|stamp| in_the_copy(&path, stamp, stamps));
            (path, Settled { layer, host: settled.host })
        });
        state::append_settled(&copy.state, Settle::Settled, settled)?;
        let restored = restored.into_iter().map(|(path, host)| (path, Settled { layer: None, host }));
        state::append_settled(&copy.state, Settle::Reopened, restored)?;
        if self.method == Method::Copy {
            let known = baseline.into_iter().filter_map(|(path, stamp)| Some((path, stamp?)));
            let known: Vec<_> = known.map(|(path, stamp)| (path.clone(), in_the_copy(&path, stamp, stamps))).collect();
            state::write_baseline(&copy.state, &known)?;
        }
        let mut hidden = self.hidden()?;
        hidden.grown_from_another();
        copy.keep_hidden(&mut hidden)
    }
}

/// The stamp that says of the copy's entry what this one says of the original's: that it is as it was, or that it is not,
/// which a stamp of another inode says for ever.
fn in_the_copy(path: &RelPath, stamp: Stamp, stamps: &Stamps) -> Stamp {
    stamps.get(path).filter(|(then, _)| *then == stamp).map_or(stamp, |(_, now)| *now)
}
