//! Decides before anything runs whether this interpreter can do a script as bash would: parses it and walks every command in
//! it, also those inside substitutions, functions, here-documents and the operands of expansions.
//!
//! It never runs anything, and it is no wall: what a script may touch is decided by what the component was given. A script that
//! slips through prints another thing than bash would; one that is refused for nothing costs a process.

use std::collections::{BTreeMap, BTreeSet};

use bashkit::parser::{
    AssignmentValue, Command, CompoundCommand, FunctionDef, ListOperator, Parser, Redirect, RedirectKind, Script,
    SimpleCommand, Word, WordPart,
};

use crate::commands::{self, Argument, Inner};

/// How deep scripts within scripts (`bash -c`, `eval`) are followed.
const NESTING_MAX: usize = 4;
/// How deep a script may nest, and how much of the parser's work it may take.
const DEPTH_MAX: usize = 60;
const PARSER_STEPS_MAX: usize = 400_000;

/// Why a script is left to bash: each list without doubles, in the order of the alphabet.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Beyond {
    /// Programs that are not among the interpreter's own tools.
    pub commands: BTreeSet<String>,
    /// Constructs, options and names that only show while running, each as a sentence's part.
    pub constructs: BTreeSet<String>,
}

impl Beyond {
    /// Whether the interpreter can do the whole script.
    pub fn is_nothing(&self) -> bool {
        self.commands.is_empty() && self.constructs.is_empty()
    }
}

/// Walks a script; an empty answer means that it can run.
pub fn beyond(script: &str) -> Beyond {
    let mut walk = Walk::default();
    walk.script(script);
    walk.recursion();
    walk.beyond
}

#[derive(Default)]
struct Walk {
    beyond: Beyond,
    functions: BTreeSet<String>,
    /// Which names each function's body calls.
    calls: BTreeMap<String, BTreeSet<String>>,
    /// The functions whose bodies are being walked, innermost last.
    within: Vec<String>,
    nesting: usize,
}

impl Walk {
    fn construct(&mut self, what: impl Into<String>) {
        self.beyond.constructs.insert(what.into());
    }

    fn script(&mut self, text: &str) {
        if self.nesting > NESTING_MAX {
            self.construct("scripts within scripts, nested more than four deep");
            return;
        }
        if text.chars().any(|c| matches!(c, '\0' | '\x01' | '\x02' | '\u{1e}' | '\u{1f}')) {
            self.construct("control characters in the script");
            return;
        }
        let parsed = Parser::with_limits(text, DEPTH_MAX, PARSER_STEPS_MAX).parse();
        match parsed {
            Ok(Script { commands, trailing_error: None, .. }) => {
                self.find_functions(&commands);
                self.commands(&commands);
            }
            Ok(Script { trailing_error: Some(why), .. }) => {
                self.construct(format!("a part that it cannot parse ({why})"))
            }
            Err(why) => self.construct(format!("a part that it cannot parse ({why})")),
        }
    }

    /// Functions may be called before the line that defines them is reached, so their names are gathered first.
    fn find_functions(&mut self, commands: &[Command]) {
        for command in commands {
            match command {
                Command::Function(def) => {
                    self.functions.insert(def.name.clone());
                    self.find_functions(std::slice::from_ref(&def.body));
                }
                Command::Simple(_) => {}
                Command::Pipeline(pipeline) => self.find_functions(&pipeline.commands),
                Command::List(list) => {
                    self.find_functions(std::slice::from_ref(&list.first));
                    for (_, command) in &list.rest {
                        self.find_functions(std::slice::from_ref(command));
                    }
                }
                Command::Compound(compound, _) => {
                    for part in bodies(compound) {
                        self.find_functions(part);
                    }
                }
            }
        }
    }

    fn commands(&mut self, commands: &[Command]) {
        for command in commands {
            self.command(command);
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Simple(simple) => self.simple(simple),
            Command::Pipeline(pipeline) => self.commands(&pipeline.commands),
            Command::List(list) => {
                self.command(&list.first);
                for (operator, command) in &list.rest {
                    if *operator == ListOperator::Background {
                        self.construct("a job in the background (`&`)");
                    }
                    self.command(command);
                }
            }
            Command::Compound(compound, redirects) => {
                self.compound(compound);
                self.redirects(redirects);
            }
            Command::Function(def) => self.function(def),
        }
    }

    fn function(&mut self, def: &FunctionDef) {
        if commands::is_special(&def.name) {
            self.construct(format!("a function named \"{}\", as a command of the shell is", def.name));
        }
        self.within.push(def.name.clone());
        self.command(&def.body);
        self.within.pop();
    }

    fn compound(&mut self, compound: &CompoundCommand) {
        match compound {
            CompoundCommand::If(_)
            | CompoundCommand::While(_)
            | CompoundCommand::Until(_)
            | CompoundCommand::Subshell(_)
            | CompoundCommand::BraceGroup(_) => {}
            CompoundCommand::For(each) => self.words(each.words.iter().flatten()),
            CompoundCommand::ArithmeticFor(each) => {
                self.text(&each.init);
                self.text(&each.condition);
                self.text(&each.step);
            }
            CompoundCommand::Case(case) => {
                self.word(&case.word);
                for item in &case.cases {
                    self.words(&item.patterns);
                }
            }
            CompoundCommand::Arithmetic(expression) => self.text(expression),
            CompoundCommand::Conditional(words) => {
                self.words(words);
                for word in words {
                    if let Some(operator) = literal(word)
                        && !word.quoted
                        && let Some(why) = commands::test_operator(&operator)
                    {
                        self.construct(why);
                    }
                }
            }
            CompoundCommand::Time(_) => self.construct("`time`, whose times would be another program's"),
            CompoundCommand::Select(_) => self.construct("`select`, which asks a person"),
            CompoundCommand::Coproc(_) => self.construct("a co-process (`coproc`)"),
        }
        for part in bodies(compound) {
            self.commands(part);
        }
    }

    fn simple(&mut self, simple: &SimpleCommand) {
        for assignment in &simple.assignments {
            if let Some(index) = &assignment.index {
                self.text(index);
            }
            match &assignment.value {
                AssignmentValue::Scalar(word) => self.word(word),
                AssignmentValue::Array(words) => self.words(words),
            }
            if matches!(assignment.name.as_str(), "PATH" | "BASH_ENV" | "PROMPT_COMMAND" | "LC_ALL" | "LANG") {
                let name = &assignment.name;
                if !matches!(name.as_str(), "LC_ALL" | "LANG") || !is_c_locale(&assignment.value) {
                    self.construct(format!("`{name}` set by the script"));
                }
            }
        }
        self.word(&simple.name);
        self.words(&simple.args);
        self.redirects(&simple.redirects);
        let arguments: Vec<Argument> = simple.args.iter().map(argument).collect();
        match literal(&simple.name) {
            Some(name) if name.is_empty() && simple.args.is_empty() => {}
            Some(name) if !name.is_empty() => self.invocation(&name, &arguments),
            _ => self.construct(format!("a command whose name only shows while running (`{}`)", brief(&simple.name))),
        }
    }

    /// One command by name, with arguments that are known or not.
    fn invocation(&mut self, name: &str, arguments: &[Argument]) {
        if let Some(function) = self.within.last() {
            self.calls.entry(function.clone()).or_default().insert(name.to_owned());
        }
        if self.functions.contains(name) {
            return;
        }
        match commands::look_up(name, arguments) {
            Err(commands::Unfit::Unknown) => {
                self.beyond.commands.insert(name.to_owned());
            }
            Err(commands::Unfit::Because(why)) => self.construct(why),
            Ok(inner) => {
                for part in inner {
                    match part {
                        Inner::Command(name, arguments) => self.invocation(&name, &arguments),
                        Inner::Script(text) => {
                            self.nesting += 1;
                            self.script(&text);
                            self.nesting -= 1;
                        }
                    }
                }
            }
        }
    }

    fn redirects(&mut self, redirects: &[Redirect]) {
        for redirect in redirects {
            self.word(&redirect.target);
            if redirect.fd_var.is_some() {
                self.construct("a descriptor kept in a variable (`{name}>`)");
            }
            match redirect.kind {
                RedirectKind::HereDoc | RedirectKind::HereDocStrip | RedirectKind::HereString => {}
                RedirectKind::ReadWrite => self.construct("a file opened for reading and writing (`<>`)"),
                RedirectKind::Output
                | RedirectKind::Clobber
                | RedirectKind::Append
                | RedirectKind::Input
                | RedirectKind::DupOutput
                | RedirectKind::DupInput
                | RedirectKind::OutputBoth => {
                    if let Some(why) = literal(&redirect.target).and_then(|path| commands::special_file(&path)) {
                        self.construct(why);
                    }
                }
            }
        }
    }

    fn words<'a>(&mut self, words: impl IntoIterator<Item = &'a Word>) {
        for word in words {
            self.word(word);
        }
    }

    fn word(&mut self, word: &Word) {
        for part in &word.parts {
            match part {
                WordPart::Literal(_)
                | WordPart::Variable(_)
                | WordPart::Length(_)
                | WordPart::ArrayLength(_)
                | WordPart::ArrayIndices { .. }
                | WordPart::PrefixMatch { .. } => {}
                WordPart::CommandSubstitution(commands)
                | WordPart::ProcessSubstitution { commands, is_input: true } => {
                    self.find_functions(commands);
                    self.commands(commands);
                }
                WordPart::ProcessSubstitution { is_input: false, .. } => {
                    self.construct("a substitution that is written to (`>(…)`)");
                }
                WordPart::ArithmeticExpansion(expression) => self.text(expression),
                WordPart::ParameterExpansion { operator, operand, .. } => {
                    self.text(operand);
                    if let bashkit::parser::ParameterOp::ReplaceFirst { pattern, replacement }
                    | bashkit::parser::ParameterOp::ReplaceAll { pattern, replacement } = operator
                    {
                        self.text(pattern);
                        self.text(replacement);
                    }
                }
                WordPart::ArrayAccess { index, .. } => self.text(index),
                WordPart::Substring { offset, length, .. } => {
                    self.text(offset);
                    self.text(length.as_deref().unwrap_or_default());
                }
                WordPart::IndirectExpansion { operand, .. } => self.text(operand),
                WordPart::IndirectSuffix { suffix, .. } => self.text(suffix),
                WordPart::CompoundAssignment { elements, .. } => self.words(elements),
                WordPart::Transformation { operator: 'P', .. } => {
                    self.construct("`${…@P}`, which runs what a variable holds")
                }
                WordPart::Transformation { .. } => {}
                WordPart::BadSubstitution(text) => {
                    self.construct(format!("`{text}`, which is no expansion that it knows"))
                }
            }
        }
    }

    /// Text that is kept unparsed until it is expanded: operands, indices, arithmetic.
    fn text(&mut self, text: &str) {
        if !(text.contains("$(") || text.contains('`') || text.contains("${") || text.contains("<(")) {
            return;
        }
        if self.nesting > NESTING_MAX {
            self.construct("expansions nested more than four deep");
            return;
        }
        self.nesting += 1;
        let word = Parser::parse_word_string_with_limits(text, DEPTH_MAX, PARSER_STEPS_MAX);
        self.word(&word);
        self.nesting -= 1;
    }

    /// The interpreter stops at sixteen calls within calls, which a recursive function reaches and others hardly do.
    fn recursion(&mut self) {
        for function in &self.functions {
            let mut reached: BTreeSet<&String> = BTreeSet::new();
            let mut open: Vec<&String> = self.calls.get(function).into_iter().flatten().collect();
            while let Some(name) = open.pop() {
                if reached.insert(name) {
                    open.extend(self.calls.get(name).into_iter().flatten());
                }
            }
            if reached.contains(function) {
                self.beyond.constructs.insert(format!("a function that calls itself (\"{function}\")"));
            }
        }
    }
}

/// The lists of commands within a compound command.
fn bodies(compound: &CompoundCommand) -> Vec<&[Command]> {
    match compound {
        CompoundCommand::If(cmd) => {
            let mut parts: Vec<&[Command]> = vec![&cmd.condition, &cmd.then_branch];
            for (condition, body) in &cmd.elif_branches {
                parts.push(condition);
                parts.push(body);
            }
            parts.extend(cmd.else_branch.as_deref());
            parts
        }
        CompoundCommand::For(cmd) => vec![&cmd.body],
        CompoundCommand::ArithmeticFor(cmd) => vec![&cmd.body],
        CompoundCommand::While(cmd) => vec![&cmd.condition, &cmd.body],
        CompoundCommand::Until(cmd) => vec![&cmd.condition, &cmd.body],
        CompoundCommand::Case(cmd) => cmd.cases.iter().map(|item| item.commands.as_slice()).collect(),
        CompoundCommand::Select(cmd) => vec![&cmd.body],
        CompoundCommand::Subshell(commands) | CompoundCommand::BraceGroup(commands) => vec![commands],
        CompoundCommand::Time(cmd) => cmd.command.iter().map(|command| std::slice::from_ref(&**command)).collect(),
        CompoundCommand::Coproc(cmd) => vec![std::slice::from_ref(&cmd.body)],
        CompoundCommand::Arithmetic(_) | CompoundCommand::Conditional(_) => Vec::new(),
    }
}

/// What a word says, where that is known without running anything.
fn literal(word: &Word) -> Option<String> {
    word.parts.iter().map(literal_part).collect()
}

fn literal_part(part: &WordPart) -> Option<&str> {
    if let WordPart::Literal(text) = part { Some(text) } else { None }
}

/// A word as an argument: its text where that is known, and else the literal pieces of it.
fn argument(word: &Word) -> Argument {
    match literal(word) {
        Some(text) => Argument::Known(text),
        None => {
            let pieces = word.parts.iter().map(|part| literal_part(part).unwrap_or(EXPANSION));
            Argument::Partly(pieces.collect())
        }
    }
}

/// Stands for an expansion between literal pieces: a character that no option and no path has.
const EXPANSION: &str = "\u{fffc}";

fn is_c_locale(value: &AssignmentValue) -> bool {
    match value {
        AssignmentValue::Scalar(word) => literal(word).is_some_and(|v| matches!(v.as_str(), "C" | "C.UTF-8" | "POSIX")),
        AssignmentValue::Array(_) => false,
    }
}

fn brief(word: &Word) -> String {
    let text = word.to_string();
    text.chars().take(60).collect()
}
