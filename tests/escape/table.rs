//! What an attack is, as data: what stands on the host, what is run, what would show that it succeeded.
//! It never runs anything.

/// How the workspace is given to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The workspace itself: the guest's strongest position.
    Direct,
    /// Copy-on-write.
    Review,
}

impl Mode {
    /// The value of `--mode`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Review => "review",
        }
    }
}

/// One thing that is put on the stage before the attack.
#[derive(Debug, Clone)]
pub(crate) enum Prop {
    /// A file that everybody may write: path, content.
    File(String, String),
    /// A symbolic link: path, target.
    Link(String, String),
    /// A set-user-id copy of the probe that belongs to somebody else: path. Needs root.
    SetUserId(String),
}

/// What must happen to the attempt when it is confined. The host must be unaffected in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confined {
    /// The attempt itself is refused.
    Refused,
    /// The attempt may succeed in a world of its own.
    Harmless,
}

/// What to make of a control that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// The test is broken.
    Certain,
    /// This kernel or this person cannot do it even unconfined: the attack is skipped, and that is said.
    WherePossible,
}

/// What the helper on the host's side tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// The control must reach it.
    Reached,
    /// It is only there: the probe's own word is what counts.
    Beside,
}

/// One attack.
#[derive(Debug, Clone)]
pub(crate) struct Attack {
    /// Its number in the list of published attacks.
    pub(crate) number: &'static str,
    /// What must not happen.
    pub(crate) name: String,
    /// How the workspace is given.
    pub(crate) mode: Mode,
    /// Give the guest a terminal.
    pub(crate) terminal: bool,
    /// More lines of the generated profile.
    pub(crate) profile: String,
    /// What is on the stage.
    pub(crate) props: Vec<Prop>,
    /// Variables of whoever starts it.
    pub(crate) environment: Vec<(String, String)>,
    /// A helper on the host's side, while the attack runs.
    pub(crate) helper: Vec<String>,
    /// What the helper tells.
    pub(crate) telling: Telling,
    /// Stands before the command, and before `stockade run` likewise.
    pub(crate) launcher: Vec<String>,
    /// The attack.
    pub(crate) command: Vec<String>,
    /// The attack's words when it is not confined, where they differ.
    pub(crate) control: Option<Vec<String>>,
    /// Paths on the host that the control must change, and the confined attempt must not.
    pub(crate) watch: Vec<String>,
    /// What to make of a control that fails.
    pub(crate) certainty: Control,
    /// What must happen when it is confined.
    pub(crate) confined: Confined,
}

/// Words from text constants.
pub(crate) fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// What a shell attack prints last, so that a shell that never ran is not taken for one that was stopped.
pub(crate) const SHELL_RAN: &str = "the-shell-ran-to-its-end";

impl Attack {
    /// An attack by the probe: its sub-command and arguments. Direct mode; it must be refused.
    pub(crate) fn probe(number: &'static str, name: impl Into<String>, sub: &[&str]) -> Self {
        let command = [vec!["{bin}/stockade-probe".to_owned()], words(sub)].concat();
        Self {
            number,
            name: name.into(),
            mode: Mode::Direct,
            terminal: false,
            profile: String::new(),
            props: Vec::new(),
            environment: Vec::new(),
            helper: Vec::new(),
            telling: Telling::Reached,
            launcher: Vec::new(),
            command,
            control: None,
            watch: Vec::new(),
            certainty: Control::Certain,
            confined: Confined::Refused,
        }
    }

    /// An attack by a shell script; what shows its success is a watched path, a helper or a canary in the output.
    pub(crate) fn shell(number: &'static str, name: impl Into<String>, script: &str) -> Self {
        let command = vec!["/bin/bash".to_owned(), "-c".to_owned(), format!("{script}\necho {SHELL_RAN}")];
        Self { command, confined: Confined::Harmless, ..Self::probe(number, name, &[]) }
    }

    /// Puts something on the stage.
    pub(crate) fn prop(mut self, prop: Prop) -> Self {
        self.props.push(prop);
        self
    }

    /// A file that everybody may write.
    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.prop(Prop::File(path.to_owned(), content.to_owned()))
    }

    /// A symbolic link.
    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.prop(Prop::Link(path.to_owned(), target.to_owned()))
    }

    /// Copy-on-write instead of the workspace itself.
    pub(crate) fn review(self) -> Self {
        Self { mode: Mode::Review, ..self }
    }

    /// The guest gets a terminal.
    pub(crate) fn with_terminal(self) -> Self {
        Self { terminal: true, ..self }
    }

    /// More lines of profile.
    pub(crate) fn rules(self, profile: &str) -> Self {
        Self { profile: profile.to_owned(), ..self }
    }

    /// A variable of whoever starts it.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A helper that the control must reach.
    pub(crate) fn aimed_at(self, helper: &[&str]) -> Self {
        Self { helper: words(helper), ..self }
    }

    /// A helper that is only there.
    pub(crate) fn beside(self, helper: &[&str]) -> Self {
        Self { helper: words(helper), telling: Telling::Beside, ..self }
    }

    /// Starts everything through a sub-command of the probe.
    pub(crate) fn launched(self, launcher: &[&str]) -> Self {
        Self { launcher: [vec!["{bin}/stockade-probe".to_owned()], words(launcher)].concat(), ..self }
    }

    /// Other words for the control.
    pub(crate) fn control(self, sub: &[&str]) -> Self {
        Self { control: Some([vec!["{bin}/stockade-probe".to_owned()], words(sub)].concat()), ..self }
    }

    /// A path that the control must change.
    pub(crate) fn watch(mut self, path: &str) -> Self {
        self.watch.push(path.to_owned());
        self
    }

    /// Not every kernel or person can do this.
    pub(crate) fn where_possible(self) -> Self {
        Self { certainty: Control::WherePossible, ..self }
    }

    /// May succeed in a world of its own.
    pub(crate) fn harmless(self) -> Self {
        Self { confined: Confined::Harmless, ..self }
    }

    /// The text of the generated profile, its names not yet replaced.
    pub(crate) fn profile_text(&self) -> String {
        let profile = &self.profile;
        format!(
            r#"profile = 1
name    = "attack"
extends = ["shell"]
floor   = "full"

[[grant.exec]]
path   = "{{bin}}"
reason = "the attack program"

[[grant.read]]
path   = "{{readable}}"
reason = "may be read and must not be changed"

{profile}

[limits]
wall_s     = 60
memory_mib = 512
pids       = 128
open_files = 256
"#
        )
    }
}
