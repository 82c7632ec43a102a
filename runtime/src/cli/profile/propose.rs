//! From what a run did to the text of the smallest profile that lets it pass, in directories rather than files.
//! It never writes a reason: that is for who answers for the grant; a blank one is refused by `profile check`.

use super::observed::{Host, Observed, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// So many files of one directory are granted as that directory.
const FILES_OF_DIRECTORY: usize = 4;
/// Refusals that are listed.
const REFUSED_MAX: usize = 40;

/// What is known of the machine and of the profile that the new one extends.
pub(super) struct Facts<'a> {
    /// Name of the profile that is extended.
    pub(super) base: &'a str,
    /// The workspace.
    pub(super) workspace: &'a Path,
    /// The home directory.
    pub(super) home: &'a Path,
    /// Whether the base lets this absolute path be read.
    pub(super) reads: &'a dyn Fn(&Path) -> bool,
    /// Whether the base lets this absolute path be executed.
    pub(super) executes: &'a dyn Fn(&Path) -> bool,
    /// Whether there is a directory on the host.
    pub(super) is_directory: &'a dyn Fn(&Path) -> bool,
}

/// Who and what a profile is for.
pub(super) struct Title<'a> {
    pub(super) name: &'a str,
    pub(super) command: &'a str,
    /// The profile that the run had besides.
    pub(super) from: &'a str,
    pub(super) session: &'a str,
}

/// The text of the profile.
pub(super) fn propose(title: &Title<'_>, observed: &Observed, facts: &Facts<'_>) -> String {
    let mut out = String::new();
    let line = |out: &mut String, text: &str| writeln!(out, "{text}").expect("writing to a String cannot fail");
    line(&mut out, &format!("# Learned from one run, in session {}, of", title.session));
    line(&mut out, &format!("#   {}", one_line(title.command)));
    line(
        &mut out,
        "# Each grant below was needed in that run. Why, nobody has said yet: until every reason is filled in,",
    );
    line(&mut out, "# `stockade profile check` refuses this file and names each line.");
    line(
        &mut out,
        &format!(
            "# Not learned, since no recorder sees it: variables of the environment (the run had those of {} and no others; what",
            title.from
        ),
    );
    line(&mut out, "# it needs besides is a [[grant.env]]), secrets, limits, and what another run of it would do.");
    line(&mut out, "profile     = 1");
    line(&mut out, &format!("name        = {}", quoted(title.name)));
    line(&mut out, &format!("description = {}", quoted(&format!("learned from a run of {}", program(title.command)))));
    line(&mut out, &format!("extends     = [{}]", quoted(facts.base)));
    let execs = executables(observed, facts);
    for (path, of) in &execs {
        grant(&mut out, "exec", path, of, facts);
    }
    for (path, of) in readable(observed, facts, &execs) {
        grant(&mut out, "read", &path, &of, facts);
    }
    for (path, of) in writable(observed, facts) {
        grant(&mut out, "write", &path, &of, facts);
    }
    for (name, host) in &observed.hosts {
        network(&mut out, name, host);
    }
    if !observed.refused.is_empty() {
        line(&mut out, "\n# Asked for in that run and not granted; it went on without:");
        for (what, times) in observed.refused.iter().take(REFUSED_MAX) {
            line(&mut out, &format!("#   {} ({times} times)", one_line(what)));
        }
        if observed.refused.len() > REFUSED_MAX {
            line(&mut out, &format!("#   and {} more", observed.refused.len() - REFUSED_MAX));
        }
    }
    out
}

/// Paths that are granted, each with those that it is granted for.
type Granted = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

/// Programs and libraries that the base does not let be executed.
fn executables(observed: &Observed, facts: &Facts<'_>) -> Granted {
    let wanted = observed.execs.iter().chain(observed.reads.iter().filter(|path| is_library(path)));
    let wanted = wanted.map(|path| absolute(path, facts)).filter(|path| !(facts.executes)(path));
    let mut granted = Granted::new();
    for path in wanted {
        let directory = directory_of(&path, facts);
        let place = if too_broad(&directory, facts) { path.clone() } else { directory };
        granted.entry(place).or_default().insert(path);
    }
    merged(granted, facts)
}

/// `libx.so`, `libx.so.6`: what is mapped to be executed. The cache of the loader is not.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let version =
        |rest: &str| rest.is_empty() || rest.starts_with('.') && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    name.split_once(".so").is_some_and(|(_, rest)| version(rest))
}

/// What is read outside of the workspace, and neither the base nor a grant to execute lets be read.
fn readable(observed: &Observed, facts: &Facts<'_>, execs: &Granted) -> Granted {
    let known = |path: &PathBuf| (facts.reads)(path) || execs.keys().any(|granted| path.starts_with(granted));
    let wanted: BTreeSet<PathBuf> =
        observed.reads.iter().map(|path| absolute(path, facts)).filter(|path| !known(path)).collect();
    let mut by_directory: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for path in wanted {
        by_directory.entry(directory_of(&path, facts)).or_default().insert(path);
    }
    let mut granted = Granted::new();
    for (directory, files) in by_directory {
        if files.len() < FILES_OF_DIRECTORY || too_broad(&directory, facts) {
            granted.extend(files.into_iter().map(|file| (file.clone(), BTreeSet::from([file]))));
        } else {
            granted.insert(directory, files);
        }
    }
    merged(granted, facts)
}

/// What is written: a file that was changed in place, else the directory in which names were made, moved or removed. Of
/// directories that the run made, the nearest one that was there before.
fn writable(observed: &Observed, facts: &Facts<'_>) -> Granted {
    let mut granted = Granted::new();
    for (path, how) in &observed.writes {
        let path = absolute(path, facts);
        let place = match how {
            Write::InPlace if (facts.is_directory)(path.parent().unwrap_or(&path)) => path.clone(),
            Write::Directory if (facts.is_directory)(&path) => continue,
            Write::InPlace | Write::Directory | Write::Named => directory_of(&path, facts),
        };
        granted.entry(place).or_default().insert(path);
    }
    merged(granted, facts)
}

/// The nearest directory above a path that is there.
fn directory_of(path: &Path, facts: &Facts<'_>) -> PathBuf {
    let above = path.ancestors().skip(1).find(|above| (facts.is_directory)(above));
    above.unwrap_or(facts.workspace).to_owned()
}

/// A directory that holds more than what a program is about.
fn too_broad(directory: &Path, facts: &Facts<'_>) -> bool {
    let inside = directory.starts_with(facts.workspace);
    !inside
        && (directory == facts.home || directory.components().count() <= 2 || facts.workspace.starts_with(directory))
}

/// Joins directories that lie side by side when there are many, and drops what another grant covers.
fn merged(mut granted: Granted, facts: &Facts<'_>) -> Granted {
    loop {
        let mut by_parent: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        for path in granted.keys() {
            if let Some(parent) = path.parent().filter(|parent| !too_broad(parent, facts)) {
                by_parent.entry(parent.to_owned()).or_default().push(path.clone());
            }
        }
        let Some((parent, children)) = by_parent.into_iter().find(|(_, children)| children.len() > FILES_OF_DIRECTORY)
        else {
            break;
        };
        let files: BTreeSet<PathBuf> = children.iter().filter_map(|child| granted.remove(child)).flatten().collect();
        granted.entry(parent).or_default().extend(files);
    }
    let covered: Vec<PathBuf> = granted
        .keys()
        .filter(|path| path.ancestors().skip(1).any(|above| granted.contains_key(above)))
        .cloned()
        .collect();
    for path in covered {
        let files = granted.remove(&path).unwrap_or_default();
        if let Some(above) = path.ancestors().skip(1).find(|above| granted.contains_key(*above)).map(Path::to_owned) {
            granted.entry(above).or_default().extend(files);
        }
    }
    granted
}

fn absolute(path: &Path, facts: &Facts<'_>) -> PathBuf {
    facts.workspace.join(path)
}

/// A path as a profile writes it: below the workspace, below the home directory, or absolute.
fn written(path: &Path, facts: &Facts<'_>) -> String {
    if let Ok(inside) = path.strip_prefix(facts.workspace) {
        return if inside.as_os_str().is_empty() { ".".to_owned() } else { format!("./{}", inside.display()) };
    }
    match path.strip_prefix(facts.home) {
        Ok(below) if !below.as_os_str().is_empty() => format!("~/{}", below.display()),
        Ok(_) | Err(_) => path.display().to_string(),
    }
}

fn grant(out: &mut String, kind: &str, path: &Path, of: &BTreeSet<PathBuf>, facts: &Facts<'_>) {
    let first = of.first().map(|path| written(path, facts)).unwrap_or_default();
    let more = of.len().saturating_sub(1);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let text = format!(
        "\n# for {}{more}\n[[grant.{kind}]]\npath   = {}\nreason = \"\"\n",
        one_line(&first),
        quoted(&written(path, facts))
    );
    out.push_str(&text);
}

fn network(out: &mut String, name: &str, host: &Host) {
    let list = |items: &BTreeSet<String>| items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ");
    let ports: Vec<String> = host.ports.iter().map(ToString::to_string).collect();
    let mut text = format!("\n[[grant.net]]\nhost    = {}\nports   = [{}]\n", quoted(name), ports.join(", "));
    if !host.methods.is_empty() {
        text += &format!("methods = [{}]\npaths   = [{}]\n", list(&host.methods), list(&host.paths));
    }
    text += "reason  = \"\"\n";
    out.push_str(&text);
}

/// A TOML string. Names of a guest can have every character in them.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if stockade_audit::text::deceives(c) => {
                write!(out, "\\U{:08X}", u32::from(c)).expect("writing to a String cannot fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Text for a comment: one line, in which no character hides or reorders.
fn one_line(text: &str) -> String {
    stockade_audit::text::printable(text)
}

fn program(command: &str) -> String {
    let first = command.split(' ').next().unwrap_or_default();
    first.rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_audit::record::{Body, FsChange, FsOp, FsOpen, Leaf, NetOpen, NetRequest, ProcExec, Via, Was};

    fn leaf(body: impl Into<Body>) -> Leaf {
        let body = body.into();
        let evidence = body.usual_evidence();
        Leaf { n: 0, wall_ns: 0, mono_ns: 0, ago_ns: 0, evidence, call: None, body, disclosed: Vec::new() }
    }

    fn open(path: &str, fl: &str, errno: i32) -> Leaf {
        leaf(FsOpen {
            path_h: None,
            p: 1,
            path: path.into(),
            fl: fl.into(),
            mode: None,
            errno: Some(errno),
            ino: None,
            was: fl.contains("CREAT").then_some(Was::Absent),
            cut: None,
            times: None,
        })
    }

    fn change(op: FsOp, path: &str) -> Leaf {
        leaf(FsChange {
            path_h: None,
            to_h: None,
            p: 1,
            op,
            path: path.into(),
            to: None,
            value: None,
            cut: None,
            times: None,
        })
    }

    /// A machine on which these directories are there, and a base that grants /usr and reading the workspace.
    fn proposed(leaves: &[Leaf]) -> String {
        let mut observed = Observed::default();
        leaves.iter().for_each(|leaf| observed.take(leaf));
        let directories = [
            "/",
            "/w",
            "/w/src",
            "/w/target",
            "/home",
            "/home/ada",
            "/home/ada/.cargo/bin",
            "/opt",
            "/opt/sdk/lib",
            "/opt/sdk",
            "/etc",
        ];
        let facts = Facts {
            base: "base",
            workspace: Path::new("/w"),
            home: Path::new("/home/ada"),
            reads: &|path| path.starts_with("/usr") || path.starts_with("/w"),
            executes: &|path| path.starts_with("/usr"),
            is_directory: &|path| directories.iter().any(|known| Path::new(known) == path),
        };
        propose(
            &Title { name: "learned", command: "/usr/bin/make all\n[[grant.read]]", from: "base", session: "01X" },
            &observed,
            &facts,
        )
    }

    fn grants(text: &str) -> Vec<String> {
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let kinds = lines.iter().enumerate().filter(|(_, line)| line.starts_with("[[grant."));
        kinds.map(|(at, kind)| format!("{kind} {}", lines.get(at + 1).copied().unwrap_or_default())).collect()
    }

    #[test]
    fn many_files_become_their_directory_and_new_directories_the_one_that_was_there() {
        let mut leaves = vec![
            open("target/debug/deps/a.o", "W|CREAT|TRUNC", 0),
            open("target/debug/b.o", "W|CREAT", 0),
            open("src/main.rs", "W", 0),
            change(FsOp::Mkdir, "target"),
            open("/usr/include/stdio.h", "R", 0),
            open("/home/ada/.netrc", "R", 0),
            open("/home/ada/.cache/x", "W|CREAT", 30),
            open("/proc/self/maps", "R", 0),
            open("/etc/ld.so.cache", "R", 0),
            open("/opt/lone.so.2", "R", 0),
        ];
        leaves.extend((0..6).map(|n| open(&format!("/opt/sdk/lib/{n}.h"), "R", 0)));
        leaves.push(leaf(ProcExec {
            p: 1,
            exe: Some("/home/ada/.cargo/bin/cargo".into()),
            h: None,
            asked: None,
            cut: None,
        }));
        let text = proposed(&leaves);
        assert_eq!(
            grants(&text),
            [
                "[[grant.exec]] path   = \"~/.cargo/bin\"",
                "[[grant.exec]] path   = \"/opt/lone.so.2\"",
                "[[grant.read]] path   = \"/etc/ld.so.cache\"",
                "[[grant.read]] path   = \"~/.netrc\"",
                "[[grant.read]] path   = \"/opt/sdk/lib\"",
                "[[grant.write]] path   = \"./src/main.rs\"",
                "[[grant.write]] path   = \"./target\"",
            ],
            "{text}"
        );
        assert!(text.contains("# for ./target/debug/b.o and 1 more\n"), "{text}");
        assert!(text.contains("#   write /home/ada/.cache/x (1 times)\n"), "{text}");
        let mut shuffled = leaves.clone();
        shuffled.reverse();
        assert_eq!(proposed(&shuffled), text, "the order of records is not the order of grants");
    }

    #[test]
    fn requests_become_hosts_with_methods_and_first_parts_of_paths() {
        let request = |path: &str| {
            let (method, host) = ("GET".to_owned(), "a.org".to_owned());
            leaf(NetRequest {
                r: 1,
                c: 1,
                method,
                host,
                port: 443,
                path: path.into(),
                query_h: None,
                rules: Vec::new(),
            })
        };
        let tunnel = NetOpen { c: 2, host: "b.org".into(), port: 22, via: Via::Direct, addr: None, rules: Vec::new() };
        let text = proposed(&[request("/v1/a/1"), request("/v1/b"), request("/ping"), leaf(tunnel)]);
        assert!(
            text.contains(
                "host    = \"a.org\"\nports   = [443]\nmethods = [\"GET\"]\npaths   = [\"/ping\", \"/v1/**\"]"
            ),
            "{text}"
        );
        assert!(text.contains("host    = \"b.org\"\nports   = [22]\nreason"), "{text}");
    }

    #[test]
    fn every_reason_is_blank_and_refused_by_its_line_and_no_name_makes_a_grant_of_its_own() {
        let text = proposed(&[open("/opt/a\"]\n[[grant.read]]\npath = \"/", "R", 0), open("src/x", "W|CREAT", 0)]);
        let refused = stockade_policy::parse("learned.toml", text.as_bytes()).expect_err("no reason, no grant");
        assert_eq!(refused.to_string().matches("reason is empty").count(), 1, "{refused}");
        let filled = text.replace("reason = \"\"", "reason = \"because\"");
        let profile = stockade_policy::parse("learned.toml", filled.as_bytes());
        assert!(profile.is_ok(), "{profile:?}\n{filled}");
        assert_eq!(grants(&text), ["[[grant.write]] path   = \"./src\""], "{text}");
        assert!(text.contains("whose name no profile can have (1 times)"), "{text}");
    }
}
