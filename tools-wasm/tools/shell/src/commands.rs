//! Decides on single commands: those that run others in their turn, and those of which only a part is done here, because the
//! rest is about modes, owners, inodes and processes, which WASI does not know.
//!
//! A command that is not here is left to bash. It never guesses at an argument that only shows while running.

use crate::{fast, options};

/// One argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    /// Known before it runs.
    Known(String),
    /// Holds an expansion; the literal pieces, with a mark for each expansion.
    Partly(String),
}

impl Argument {
    fn known(&self) -> Option<&str> {
        match self {
            Argument::Known(text) => Some(text),
            Argument::Partly(_) => None,
        }
    }

    pub(crate) fn pieces(&self) -> &str {
        match self {
            Argument::Known(text) | Argument::Partly(text) => text,
        }
    }
}

/// What a command runs in its turn.
pub(crate) enum Inner {
    Command(String, Vec<Argument>),
    Script(String),
}

/// Why a command is left to bash.
pub(crate) enum Unfit {
    Unknown,
    Because(String),
}

impl From<String> for Unfit {
    fn from(why: String) -> Unfit {
        Unfit::Because(why)
    }
}

/// Names that a script may not give to a function: the walk knows them as the shell's own.
pub(crate) fn is_special(name: &str) -> bool {
    matches!(
        name,
        "cd" | "echo"
            | "printf"
            | "test"
            | "["
            | "exit"
            | "return"
            | "eval"
            | "command"
            | "builtin"
            | "set"
            | "trap"
            | "exec"
            | "xargs"
            | "find"
            | "env"
    )
}

/// Decides on one command: what it runs in its turn, or why it is left to bash.
pub(crate) fn look_up(name: &str, arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    if let Some(why) = arguments.iter().find_map(|argument| special_file(argument.pieces())) {
        return Err(Unfit::Because(why));
    }
    match name {
        "command" => return command(arguments),
        "builtin" | "nohup" => return prefix(name, arguments),
        "env" => return env(arguments),
        "timeout" => return timeout(arguments),
        "xargs" => return xargs(arguments),
        "find" => return find(arguments),
        "bash" | "sh" => return nested_shell(name, arguments),
        "eval" => return eval(arguments),
        "trap" => return trap(arguments),
        "set" => return set(arguments),
        "shopt" => return shopt(arguments),
        "test" | "[" => return test(arguments),
        _ => {}
    }
    if options::WITHOUT_OPTIONS.contains(&name) {
        return Ok(Vec::new());
    }
    let options = options::of(name).ok_or(Unfit::Unknown)?;
    if let Some(option) = options.unknown(arguments) {
        return Err(Unfit::Because(format!("`{name} {option}`")));
    }
    match name {
        "ln" => symbolic(arguments),
        "cmp" => silent(arguments),
        "sed" => sed(arguments),
        "cut" => cut(arguments),
        "tr" => tr(arguments),
        "date" => date(arguments),
        "awk" => awk(arguments),
        "stat" => stat(arguments),
        _ => Ok(Vec::new()),
    }
}

/// Files that a process has and a component has not.
pub(crate) fn special_file(path: &str) -> Option<String> {
    let device = path.strip_prefix("/dev/").is_some_and(|rest| {
        !(matches!(rest, "null" | "stdin" | "stdout" | "stderr")
            || rest.strip_prefix("fd/").is_some_and(|fd| fd.bytes().all(|b| b.is_ascii_digit())))
    });
    let kernel = ["/proc", "/sys"]
        .iter()
        .any(|root| path == *root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/')));
    (device || kernel).then(|| format!("`{path}`, which a component does not have"))
}

/// Operators of `test` and `[[ ]]` that ask for what WASI does not know.
pub(crate) fn test_operator(operator: &str) -> Option<String> {
    let about = match operator {
        "-x" | "-r" | "-w" | "-u" | "-g" | "-k" => "modes",
        "-O" | "-G" => "owners",
        "-b" | "-c" | "-p" | "-S" => "devices",
        "-ef" => "inodes",
        "-t" => "terminals",
        "-N" => "times of access",
        _ => return None,
    };
    Some(format!("`test {operator}`, which is about {about}"))
}

fn test(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    let operators = arguments.iter().filter_map(Argument::known);
    match operators.filter_map(test_operator).next() {
        Some(why) => Err(Unfit::Because(why)),
        None => Ok(Vec::new()),
    }
}

/// The command after options that take no argument.
fn prefix(name: &str, arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    match arguments.split_first() {
        None => Ok(Vec::new()),
        Some((Argument::Known(inner), rest)) if !inner.starts_with('-') => {
            Ok(vec![Inner::Command(inner.clone(), rest.to_vec())])
        }
        Some(_) => {
            Err(Unfit::Because(format!("`{name}` with options, or with a command that only shows while running")))
        }
    }
}

fn command(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    match arguments.first().and_then(Argument::known) {
        // What is installed is a question about the process wall's programs, which bash answers.
        Some("-v" | "-V" | "-p") => Err(Unfit::Because("`command -v`, which asks what programs there are".to_owned())),
        _ => prefix("command", arguments),
    }
}

fn env(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    let mut rest = arguments;
    while let Some((first, after)) = rest.split_first() {
        match first {
            Argument::Known(text) if text == "-i" || text == "-" || text.contains('=') => rest = after,
            Argument::Known(text) if text == "-u" => rest = after.get(1..).unwrap_or_default(),
            Argument::Partly(text) if text.contains('=') => rest = after,
            Argument::Known(_) | Argument::Partly(_) => return prefix("env", rest),
        }
    }
    Err(Unfit::Because("`env` without a command, which lists a process's variables".to_owned()))
}

fn timeout(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    match arguments.split_first() {
        Some((Argument::Known(duration), rest)) if duration.starts_with(|c: char| c.is_ascii_digit()) => {
            prefix("timeout", rest)
        }
        _ => Err(Unfit::Because("`timeout` with options".to_owned())),
    }
}

fn xargs(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    let mut rest = arguments;
    while let Some((first, after)) = rest.split_first() {
        let Argument::Known(text) = first else {
            return Err(Unfit::Because("`xargs` with a command that only shows while running".to_owned()));
        };
        rest = match text.as_str() {
            "-0" | "-r" | "-t" | "--null" | "--no-run-if-empty" | "-0r" | "-r0" => after,
            "-I" | "-n" | "-d" | "-L" | "-P" | "-s" => after.get(1..).unwrap_or_default(),
            _ if ["-I", "-n", "-d", "-L", "-P"].iter().any(|option| text.starts_with(option) && text.len() > 2) => {
                after
            }
            _ if text.starts_with('-') => return Err(Unfit::Because(format!("`xargs {text}`"))),
            _ => return inner_of_template("xargs", rest),
        };
    }
    Ok(Vec::new())
}

/// The command of `xargs` or `find -exec`, into which names are put: a shell within it gets them as arguments only.
fn inner_of_template(name: &str, rest: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    match rest.split_first() {
        Some((Argument::Known(inner), arguments)) if !inner.contains("{}") => {
            if matches!(inner.as_str(), "sh" | "bash")
                && arguments.get(1).is_some_and(|script| script.pieces().contains("{}"))
            {
                return Err(Unfit::Because(format!("`{name} … {inner} -c` with names put into the script")));
            }
            Ok(vec![Inner::Command(inner.clone(), arguments.to_vec())])
        }
        _ => Err(Unfit::Because(format!("`{name}` with a command that only shows while running"))),
    }
}

/// What of `find` stands alone.
const FIND_WITHOUT_VALUE: &[&str] = &[
    "-", "-L", "-P", "-H", "-empty", "-print", "-print0", "-delete", "-prune", "-quit", "-depth", "-not", "-o", "-or",
    "-a", "-and", "-true", "-false",
];

fn find(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    let mut inner = Vec::new();
    let mut rest = arguments;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first.known() {
            Some("-exec" | "-execdir") => {
                let end = after
                    .iter()
                    .position(|argument| matches!(argument.known(), Some(";" | "+" | "\\;")))
                    .ok_or_else(|| Unfit::Because("`find -exec` without an end".to_owned()))?;
                let (template, behind) = after.split_at(end);
                inner.extend(inner_of_template("find -exec", template)?);
                rest = behind.get(1..).unwrap_or_default();
            }
            Some("-printf") => {
                let format = after.first().map(Argument::pieces).unwrap_or_default();
                if [
                    "%m", "%M", "%u", "%U", "%g", "%G", "%i", "%n", "%b", "%k", "%D", "%a", "%A", "%c", "%C", "%S",
                    "%F",
                ]
                .iter()
                .any(|d| format.contains(d))
                {
                    return Err(Unfit::Because(format!(
                        "`find -printf {format}`, which is about modes, owners or inodes"
                    )));
                }
                rest = after.get(1..).unwrap_or_default();
            }
            Some(
                "-name" | "-iname" | "-path" | "-ipath" | "-wholename" | "-type" | "-size" | "-mtime" | "-mmin"
                | "-newer" | "-newermt" | "-maxdepth" | "-mindepth" | "-regex" | "-iregex" | "-regextype",
            ) => {
                rest = after.get(1..).unwrap_or_default();
            }
            Some(test) if test.starts_with('-') && !FIND_WITHOUT_VALUE.contains(&test) => {
                return Err(Unfit::Because(format!("`find {test}`")));
            }
            _ => {}
        }
    }
    Ok(inner)
}

fn nested_shell(name: &str, arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    match arguments {
        // The two shells differ in what `echo` does with a backslash, and in what only bash has.
        [Argument::Known(option), Argument::Known(script), ..]
            if option == "-c" && (name == "bash" || !script.contains(['\\', '['])) =>
        {
            Ok(vec![Inner::Script(script.clone())])
        }
        _ => Err(Unfit::Because(format!("`{name}` with a script that only shows while running"))),
    }
}

fn eval(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    let parts: Option<Vec<&str>> = arguments.iter().map(Argument::known).collect();
    match parts {
        Some(parts) => Ok(vec![Inner::Script(parts.join(" "))]),
        None => Err(Unfit::Because("`eval` of a text that only shows while running".to_owned())),
    }
}

fn trap(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    match arguments {
        [Argument::Known(handler), Argument::Known(signal)] if signal == "EXIT" || signal == "0" => {
            Ok(vec![Inner::Script(handler.clone())])
        }
        _ => Err(Unfit::Because("`trap` for a signal".to_owned())),
    }
}

fn set(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    let mut names_option = false;
    for argument in arguments {
        let Some(text) = argument.known() else { continue };
        if text == "--" {
            break;
        }
        let known = match text.strip_prefix(['-', '+']) {
            Some(flags) => flags.chars().all(|flag| "euofC".contains(flag)),
            None => !names_option || matches!(text, "pipefail" | "errexit" | "nounset" | "noglob" | "noclobber"),
        };
        if !known {
            return Err(Unfit::Because(format!("`set {text}`")));
        }
        names_option = text.starts_with(['-', '+']) && text.ends_with('o');
    }
    Ok(Vec::new())
}

fn shopt(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    let known =
        ["-s", "-u", "-q", "globstar", "nullglob", "dotglob", "extglob", "nocaseglob", "failglob", "nocasematch"];
    match arguments.iter().find(|argument| !argument.known().is_some_and(|text| known.contains(&text))) {
        None => Ok(Vec::new()),
        Some(other) => Err(Unfit::Because(format!("`shopt {}`", other.pieces()))),
    }
}

/// Whether one of the short options is given.
fn has(arguments: &[Argument], letter: char, long: &[&str]) -> bool {
    arguments.iter().filter_map(Argument::known).any(|text| match text.strip_prefix("--") {
        Some(option) => long.contains(&option),
        None => text.strip_prefix('-').is_some_and(|cluster| cluster.contains(letter)),
    })
}

fn symbolic(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    match has(arguments, 's', &["symbolic"]) {
        true => Ok(Vec::new()),
        false => Err(Unfit::Because("`ln` without -s, which is about inodes".to_owned())),
    }
}

fn silent(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    match has(arguments, 's', &["silent", "quiet"]) {
        true => Ok(Vec::new()),
        false => Err(Unfit::Because("`cmp` without -s".to_owned())),
    }
}

/// A date in words is left to GNU's own reading of it, but for the plain forms.
fn date(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    let texts = arguments.iter().filter(|argument| !argument.pieces().starts_with('+')).map(Argument::pieces);
    for text in texts {
        let mut after_time = false;
        let mut after_day = false;
        for token in text.split_whitespace() {
            let relative =
                token.starts_with(['+', '-']) && !token.starts_with("--") || token.bytes().all(|b| b.is_ascii_digit());
            let word = matches!(token, "tomorrow" | "yesterday" | "next" | "last");
            if (after_time && (relative || word)) || (after_day && word) {
                return Err(Unfit::Because(format!("`date -d \"{text}\"`")));
            }
            after_time |= token.contains(':');
            after_day |= token.contains('-') && token.starts_with(|c: char| c.is_ascii_digit());
        }
    }
    Ok(Vec::new())
}

fn stat(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    let mut formats = arguments.iter().filter_map(|argument| {
        let text = argument.pieces();
        text.strip_prefix("--format=")
            .or_else(|| text.strip_prefix("--printf="))
            .or_else(|| text.contains('%').then_some(text))
    });
    let sound = |format: &str| {
        let mut letters = format.split('%').skip(1).filter_map(|part| part.chars().next());
        letters.all(|letter| matches!(letter, 's' | 'n' | 'N' | 'Y' | 'F'))
    };
    match formats.next() {
        Some(format) if sound(format) && formats.next().is_none() => Ok(Vec::new()),
        _ => Err(Unfit::Because("`stat` about more than size, name, type and time".to_owned())),
    }
}

/// `e`, alone or as a flag of `s`, runs commands.
fn sed(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    for argument in arguments {
        let text = argument.pieces();
        if text.starts_with('-') {
            continue;
        }
        for part in text.split([';', '\n']) {
            let part = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ',' || c == '$' || c == ' ');
            let mut letters = part.chars();
            let runs = match (letters.next(), letters.next()) {
                (Some('e'), None | Some(' ')) => true,
                (Some('s'), Some(mark)) if !mark.is_alphanumeric() && mark != ' ' => {
                    part.rsplit(mark).next().is_some_and(|flags| {
                        flags.len() < 6
                            && flags.contains('e')
                            && flags.chars().all(|c| c.is_ascii_alphanumeric())
                            && part.matches(mark).count() == 3
                    })
                }
                _ => false,
            };
            if runs {
                return Err(Unfit::Because("`sed` with `e`, which runs commands".to_owned()));
            }
        }
    }
    Ok(Vec::new())
}

/// Lists that are errors to GNU's `cut` and to the interpreter's not.
fn cut(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    let options = ["-f", "-c", "-b", "--fields=", "--characters=", "--bytes="];
    let mut lists = Vec::new();
    let mut rest = arguments.iter().map(Argument::pieces);
    while let Some(text) = rest.next() {
        match options.iter().find_map(|option| text.strip_prefix(option)) {
            Some("") => lists.extend(rest.next()),
            Some(list) => lists.push(list),
            // Its value may look like anything.
            None if text == "-d" => drop(rest.next()),
            None => {}
        }
    }
    if lists.len() > 1 || lists.iter().any(|list| list.contains('+')) {
        return Err(Unfit::Because("`cut` with two lists, or with a sign in one".to_owned()));
    }
    Ok(Vec::new())
}

/// Classes that are errors to GNU's `tr` and to the interpreter's not.
fn tr(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    let (options, sets): (Vec<&Argument>, Vec<&Argument>) =
        arguments.iter().partition(|argument| argument.pieces().len() > 1 && argument.pieces().starts_with('-'));
    let deletes = options.iter().any(|option| {
        let text = option.pieces();
        text == "--delete" || (!text.starts_with("--") && text.contains('d'))
    });
    match sets.as_slice() {
        [Argument::Known(from), Argument::Known(to)] if !deletes && !fast::can_replace(from, to) => {
            Err(Unfit::Because(format!("`tr` with a class in \"{to}\" that has no counterpart")))
        }
        _ => Ok(Vec::new()),
    }
}

fn awk(arguments: &[Argument]) -> Result<Vec<Inner>, Unfit> {
    for argument in arguments {
        let program = argument.pieces();
        let dense: String = program.chars().filter(|c| !c.is_whitespace()).collect();
        if dense.contains("system(") || dense.contains("|\"") || dense.contains("|getline") || dense.contains("|&") {
            return Err(Unfit::Because("`awk` with `system` or a pipe, which run commands".to_owned()));
        }
    }
    Ok(Vec::new())
}
