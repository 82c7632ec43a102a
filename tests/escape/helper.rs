//! A helper on the host's side of the wall: what an attack aims at, and its word on whether it was reached.
//! It never outlives the attack that it was started for.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use stockade_tests::process::{Program, kill_group};
use stockade_tests::scene::Scene;

use stockade_tests::stage::usual_environment;

/// Longest time until a helper is ready, and until it is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running helper.
pub(crate) struct Helper {
    child: Child,
    lines: Receiver<String>,
}

impl Helper {
    /// Starts a helper of the probe's, waits until it is ready, and names what it tells on the stage.
    pub(crate) fn start(scene: &mut Scene, words: &[String]) -> Result<Self, String> {
        let argv = std::iter::once("{bin}/stockade-probe".to_owned()).chain(words.iter().cloned());
        let program = Program {
            argv: argv.map(|word| scene.fill(&word).into()).collect(),
            directory: scene.path("{root}"),
            environment: [usual_environment(scene), vec![("VICTIM".into(), scene.fill("{canary}").into())]].concat(),
            person: scene.person(),
            input: Vec::new(),
            limit: PATIENCE,
        };
        let mut child = program.start().map_err(|e| format!("helper {words:?}: {e}"))?;
        let out = child.stdout.take().ok_or("a helper without output")?;
        let (sender, lines) = channel();
        // Ends with the helper's output; nobody waits for it.
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let helper = Self { child, lines };
        let ready = helper.lines.recv_timeout(PATIENCE).map_err(|e| format!("helper {words:?}: {e}"))?;
        let told = ready.strip_prefix("ready").ok_or_else(|| format!("helper {words:?}: {ready}"))?;
        for (name, value) in told.split_whitespace().filter_map(|pair| pair.split_once('=')) {
            scene.name(name, value);
        }
        Ok(helper)
    }

    /// Ends it, and says whether it was reached: by its own word, or by having been killed.
    pub(crate) fn finish(mut self) -> Result<bool, String> {
        drop(self.child.stdin.take());
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().map_err(|e| format!("helper: {e}"))? {
                Some(status) => break status,
                None if Instant::now() > until => return Err("the helper does not end".to_owned()),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let mut reached = !status.success();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => reached |= line.starts_with("reached"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return Err("the helper's output does not end".to_owned()),
            }
        }
        let mut complaint = String::new();
        if let Some(mut err) = self.child.stderr.take() {
            // A helper that was killed has nothing to say.
            drop(err.read_to_string(&mut complaint));
        }
        Ok(reached)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_group(self.child.id());
            drop(self.child.wait());
        }
    }
}
