//! `stockade tool`: which tools there are, what each asks for, what a profile would give it, and compiling them ahead.
//! It never calls one.

use crate::backend::wasm::command::Entry;
use crate::backend::wasm::component::packed;
use crate::backend::wasm::{CallGrant, Component, Files};
use crate::cli::args::{Backend, Confinement, Mode, ToolCommand, ToolPlace, WallArgs};
use crate::cli::confine::{Confined, confined};
use crate::cli::style::{Tone, visible};
use crate::cli::{Context, print, print_json, tell};
use crate::config::state::State;
use crate::error::{Error, Result};
use crate::journal;
use crate::session::Options;
use crate::session::tools::{self, Known, Origin, Registry, Surroundings, given};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use stockade_policy::{Action, Answer, Call, ComponentDigest, ToolName};

/// Does what the subcommand says.
///
/// # Errors
/// Operator: no such profile or tool, or mistakes in it.
pub(super) fn tool(command: &ToolCommand, context: &Context) -> Result<u8> {
    match command {
        ToolCommand::List { place, json } => list(&Place::of(place, context)?, *json, context)?,
        ToolCommand::Inspect { tool, place, json } => {
            let place = Place::of(place, context)?;
            let inspected = Inspected::of(&place, tool)?;
            if *json { print_json(&inspected)? } else { print(&inspected.text(&place, context))? }
        }
        ToolCommand::Pack { program, manifest, output } => pack(program, manifest, output)?,
        ToolCommand::Compile { tools, place } => compile(&Place::of(place, context)?, tools)?,
    }
    Ok(0)
}

/// A session that is not opened.
struct Place {
    options: Options,
    registry: Registry,
    around: Surroundings,
}

impl Place {
    fn of(place: &ToolPlace, context: &Context) -> Result<Self> {
        let state = State::open(&context.environment)?;
        let confinement = Confinement {
            profile: place.profile.clone(),
            workspace: place.workspace.clone(),
            mode: Mode::Review,
            // What a tool asks for and is given is the same behind either wall, and no image need be named for it.
            wall: WallArgs { backend: Some(Backend::Process), ..WallArgs::default() },
        };
        let Confined { options, .. } = confined(&confinement, journal::new_session_id()?, &state, "cli", context)?;
        let registry = Registry::new(&options.paths.state, &options.paths.workspace, options.user.uid);
        let host = options.variables.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        let mut environment = options.profile.environment(host);
        // A session has a placeholder there; which one, it draws when it begins.
        let held = options.profile.secrets().iter().filter_map(|secret| secret.subject.env.as_ref());
        environment.extend(held.map(|name| (name.as_str().into(), b"PLACEHOLDER".to_vec())));
        let around = Surroundings { directory: options.paths.workspace.clone(), environment };
        Ok(Self { options, registry, around })
    }

    /// The tool of a name, or the component in a file.
    fn find(&self, tool: &str) -> Result<(ToolName, Found)> {
        if !tool.contains('/') && !tool.ends_with(".wasm") {
            let name = ToolName::parse(tool).map_err(|flaw| Error::operator(flaw.what).hint(flaw.hint))?;
            let Known { component, origin } = self.registry.find(&self.options.profile, &name)?;
            let origin = match origin {
                Origin::BuiltIn => "built in".to_owned(),
                Origin::Rule { rule, path } => format!("{rule}, \"{}\"", path.display()),
            };
            return Ok((name, Found { component, origin }));
        }
        let component = Arc::new(Component::open(Path::new(tool))?);
        let flawed = |flaw: stockade_policy::Flaw| Error::operator(flaw.what).hint(flaw.hint);
        let name = ToolName::parse(&component.manifest().name).map_err(flawed)?;
        let known = self.registry.find(&self.options.profile, &name);
        let is_known = known.is_ok_and(|known| known.component.digest() == component.digest());
        let said = if is_known { "the profile's own" } else { "not in the profile: it would not run" };
        Ok((name, Found { component, origin: format!("file \"{tool}\", {said}") }))
    }

    /// What the profile says of a call without arguments.
    fn verdict(&self, name: &ToolName) -> String {
        let call = Call::new(name.clone(), Action::Tool { name: name.clone(), args: BTreeMap::new() });
        match self.options.profile.would(&call) {
            Answer::Allowed(grounds) => {
                let rules: Vec<String> = grounds.rules.iter().map(ToString::to_string).collect();
                format!("granted by {}", rules.join(", "))
            }
            Answer::Asks(_) => "a person would be asked".to_owned(),
            Answer::Denied(refusal) if self.is_conditional(name) => format!("by its arguments: {}", refusal.reason),
            Answer::Denied(refusal) => format!("denied: {}", refusal.reason),
        }
    }

    /// Whether some calls of it are granted.
    fn is_conditional(&self, name: &ToolName) -> bool {
        let mut grants = self.options.profile.tool_grants();
        grants.any(|grant| grant.name.matches(name.as_str().as_bytes()) && !grant.conditions.is_empty())
    }

    fn given(&self, name: &ToolName, component: &Component) -> CallGrant {
        let profile = &self.options.profile;
        given(component.manifest(), profile, profile.ambient_for(name, None), profile.limits(), &self.around)
    }
}

/// A component, and where it comes from, in words.
struct Found {
    component: Arc<Component>,
    origin: String,
}

/// What scripts get of a tool that is listed.
#[derive(Serialize)]
struct Listed {
    name: String,
    verdict: String,
    sha256: Option<String>,
    description: Option<String>,
    /// Why it cannot be called, where its component is none.
    error: Option<String>,
}

fn list(place: &Place, json: bool, context: &Context) -> Result<()> {
    let mut tools = Vec::new();
    for name in place.registry.names(&place.options.profile)? {
        let found = place.registry.find(&place.options.profile, &name);
        let (sha256, description, error) = match &found {
            Ok(Known { component, .. }) => {
                let digest = ComponentDigest(*component.digest()).to_string();
                (Some(digest), Some(component.manifest().description.clone()), None)
            }
            Err(error) => (None, None, Some(error.to_string())),
        };
        tools.push(Listed { verdict: place.verdict(&name), name: name.to_string(), sha256, description, error });
    }
    if json {
        return print_json(&tools);
    }
    let mut out = String::new();
    for tool in &tools {
        let name = context.colour.paint(Tone::Strong, &format!("{:12}", tool.name));
        let about = tool.description.as_ref().or(tool.error.as_ref()).map(String::as_str).unwrap_or_default();
        let first = about.lines().next().unwrap_or_default();
        let verdict = context.colour.paint(Tone::Faint, &tool.verdict);
        writeln!(out, "{name} {}\n{:12} {verdict}", visible(first), "").expect("writing to a String cannot fail");
    }
    print(&out)
}

/// What scripts get of one tool.
#[derive(Serialize)]
struct Inspected {
    name: String,
    version: String,
    description: String,
    origin: String,
    sha256: String,
    bytes: usize,
    /// How it is entered: `call` or `command`.
    entry: &'static str,
    imports: Vec<String>,
    verdict: String,
    ceiling: Rights,
    given: Rights,
    input_schema: Map<String, Value>,
    output_schema: Option<Map<String, Value>>,
}

/// What a component asks for, or gets.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is shown by itself")]
struct Rights {
    files: &'static str,
    network: bool,
    sockets: bool,
    clocks: bool,
    random: bool,
    arguments: bool,
    stdin: bool,
    env: Vec<String>,
    wall_s: Option<u64>,
    memory_mib: Option<u64>,
}

impl Inspected {
    fn of(place: &Place, tool: &str) -> Result<Self> {
        let (name, Found { component, origin }) = place.find(tool)?;
        let manifest = component.manifest();
        let (ceiling, given) = (&manifest.ceiling, place.given(&name, &component));
        Ok(Self {
            verdict: place.verdict(&name),
            name: name.to_string(),
            version: manifest.version.clone(),
            description: manifest.description.clone(),
            origin,
            sha256: ComponentDigest(*component.digest()).to_string(),
            bytes: component.bytes().len(),
            entry: match manifest.entry {
                Entry::Call => "call",
                Entry::Command => "command",
            },
            imports: component.imports().to_vec(),
            ceiling: Rights {
                files: word(ceiling.files),
                network: ceiling.network,
                sockets: ceiling.sockets,
                clocks: ceiling.clocks,
                random: ceiling.random,
                arguments: ceiling.arguments,
                stdin: ceiling.stdin,
                env: ceiling.env.clone(),
                wall_s: manifest.limits.wall_s,
                memory_mib: manifest.limits.memory_mib,
            },
            given: Rights {
                files: word(given.files),
                network: given.network,
                sockets: given.sockets,
                clocks: given.clocks,
                random: given.random,
                arguments: given.arguments,
                stdin: given.stdin,
                env: given.env.into_iter().map(|(name, _)| name).collect(),
                wall_s: Some(given.limits.wall.as_secs()),
                memory_mib: Some(given.limits.memory_bytes / (1024 * 1024)),
            },
            input_schema: manifest.input_schema.members().clone(),
            output_schema: manifest.output_schema.as_ref().map(|schema| schema.members().clone()),
        })
    }

    fn text(&self, place: &Place, context: &Context) -> String {
        let mut out = String::new();
        let mut say = |what: &str, value: &str| {
            writeln!(out, "{} {}", context.colour.paint(Tone::Strong, &format!("{what:10}")), visible(value))
                .expect("writing to a String cannot fail");
        };
        say("tool", &format!("{} {}", self.name, self.version));
        self.description.lines().for_each(|line| say("", line));
        say("origin", &self.origin);
        say("sha256", &self.sha256);
        say("bytes", &self.bytes.to_string());
        say("entry", self.entry);
        for (n, import) in self.imports.iter().enumerate() {
            say(if n == 0 { "imports" } else { "" }, import);
        }
        say("verdict", &self.verdict);
        say("", "");
        say("", &format!("{:10} {:24} given by profile \"{}\"", "", "asks for", place.options.profile.name()));
        let (asks, gets) = (&self.ceiling, &self.given);
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let some = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let names = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(" ") };
        for (what, asks, gets) in [
            ("files", asks.files.to_owned(), gets.files.to_owned()),
            ("network", yes(asks.network), yes(gets.network)),
            ("sockets", yes(asks.sockets), yes(gets.sockets)),
            ("clocks", yes(asks.clocks), yes(gets.clocks)),
            ("random", yes(asks.random), yes(gets.random)),
            ("arguments", yes(asks.arguments), yes(gets.arguments)),
            ("stdin", yes(asks.stdin), yes(gets.stdin)),
            ("env", names(&asks.env), names(&gets.env)),
            ("wall_s", some(asks.wall_s), some(gets.wall_s)),
            ("memory_mib", some(asks.memory_mib), some(gets.memory_mib)),
        ] {
            say("", &format!("{what:10} {asks:24} {gets}"));
        }
        out
    }
}

/// Makes a tool of a component that has no manifest.
fn pack(program: &Path, manifest: &Path, output: &Path) -> Result<()> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| Error::io("read", path, &error));
    let packed = packed(&read(program)?, &read(manifest)?)?;
    let written = Component::parse(packed)?;
    std::fs::write(output, written.bytes()).map_err(|error| Error::io("write", output, &error))?;
    let digest = ComponentDigest(*written.digest());
    print(&format!("sha256 = \"{digest}\"\n"))
}

/// Compiles tools: those that are named, or every one.
fn compile(place: &Place, tools: &[String]) -> Result<()> {
    let compiler = tools::compiler(&place.options.paths.state)?;
    let every = place.registry.names(&place.options.profile)?;
    let every: Vec<String> = every.iter().map(ToString::to_string).collect();
    for tool in if tools.is_empty() { &every } else { tools } {
        let (name, Found { component, .. }) = place.find(tool)?;
        compiler.compile(&component)?;
        tell(&format!("compiled {name}"));
    }
    Ok(())
}

const fn word(files: Files) -> &'static str {
    match files {
        Files::None => "none",
        Files::Read => "read",
        Files::Write => "write",
    }
}
