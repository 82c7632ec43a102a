//! What a profile says, for people: every statement with its reason and the line it comes from.
//! It never leaves a statement out, however many there are.

use crate::diagnostic::Printable;
use crate::name::RuleId;
use crate::path::RulePath;
use crate::profile::Profile;
use crate::rule::{Access, Grant, Rule};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

/// A profile in sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Name of the profile.
    pub name: String,
    /// One line about it; empty when it has none.
    pub description: String,
    /// The files that went into it, parents first.
    pub files: Vec<String>,
    /// What it says; sections without lines are left out.
    pub sections: Vec<Section>,
}

/// Statements of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// The statements.
    pub lines: Vec<ExplainedLine>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedLine {
    /// What it says.
    pub what: String,
    /// Why; empty for limits, floors and patterns, which need no reason.
    pub reason: String,
    /// The file it comes from, as the caller named it, and its line; none for what no file says.
    pub from: Option<(String, u32)>,
    /// The rule, as a log names it.
    pub rule: Option<RuleId>,
}

impl<P: RulePath> Profile<P> {
    /// Explains the profile.
    pub fn explain(&self) -> Explanation {
        let is =
            |access: Access| move |grant: &Grant<P>| matches!(grant, Grant::Path { access: a, .. } if *a == access);
        let grants = |fits: &dyn Fn(&Grant<P>) -> bool| -> Vec<ExplainedLine> {
            self.grants.iter().filter(|rule| fits(&rule.subject)).map(line).collect()
        };
        let sections = [
            ("may read", grants(&is(Access::Read))),
            ("may read and write", grants(&is(Access::Write))),
            ("may read and execute", grants(&is(Access::Exec))),
            ("may reach", grants(&|grant| matches!(grant, Grant::Net(_)))),
            ("may connect to sockets", grants(&|grant| matches!(grant, Grant::Unix { .. }))),
            ("may be reached from this machine", grants(&|grant| matches!(grant, Grant::Port(_)))),
            ("may call tools", grants(&|grant| matches!(grant, Grant::Tool(_)))),
            ("tools beside the built-in ones", self.components.iter().map(line).collect()),
            ("environment", grants(&|grant| matches!(grant, Grant::Env(_)))),
            ("secrets, as placeholders", self.secrets.iter().map(line).collect()),
            ("asks first, or never", self.restrictions.iter().map(line).collect()),
            ("protected files of the workspace", self.protect.iter().map(guard).collect()),
            ("held for review", self.hold.iter().map(guard).collect()),
            ("limits", self.explain_limits()),
        ];
        let sections = sections.into_iter().filter(|(_, lines)| !lines.is_empty());
        Explanation {
            name: self.name.to_string(),
            description: self.description.clone(),
            files: self.sources.iter().map(|source| source.file.to_string()).collect(),
            sections: sections.map(|(title, lines)| Section { title, lines }).collect(),
        }
    }

    fn explain_limits(&self) -> Vec<ExplainedLine> {
        let plain = |what: String| ExplainedLine { what, reason: String::new(), from: None, rule: None };
        let mut lines: Vec<ExplainedLine> = Vec::new();
        for (limit, value) in self.limits.iter() {
            let rule = self.limit_rule(limit);
            let source = rule.and_then(|rule| self.sources.iter().find(|source| source.name == *rule.source()));
            let from = rule.zip(source).map(|(rule, source)| (source.file.to_string(), rule.line()));
            lines.push(ExplainedLine { from, rule: rule.cloned(), ..plain(format!("{limit} = {value}")) });
        }
        for (what, reason, line) in crate::backend::said(&self.wall) {
            let from = line.map(|line| (line.file.to_string(), line.rule.line()));
            lines.push(ExplainedLine { what, reason: reason.into(), from, rule: line.map(|line| line.rule.clone()) });
        }
        lines.push(plain(format!("floor = \"{}\"", self.floor)));
        lines.push(plain(format!("durability = \"{}\"", self.durability)));
        lines.push(plain(format!("record = \"{}\"", self.recording)));
        lines.push(plain(format!("record_floor = \"{}\"", self.record_floor)));
        lines
    }
}

fn line<S: fmt::Display>(rule: &Rule<S>) -> ExplainedLine {
    ExplainedLine {
        what: rule.subject.to_string(),
        reason: rule.reason.to_string(),
        from: Some((rule.file.to_string(), rule.id.line())),
        rule: Some(rule.id.clone()),
    }
}

fn guard(guard: &crate::guard::Guard) -> ExplainedLine {
    ExplainedLine {
        what: guard.to_string(),
        reason: String::new(),
        from: Some((guard.file.to_string(), guard.id.line())),
        rule: Some(guard.id.clone()),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "profile {}", self.name)?;
        if !self.description.is_empty() {
            writeln!(f, "{}", Printable(&self.description))?;
        }
        for section in &self.sections {
            writeln!(f, "\n{}", section.title)?;
            for line in &section.lines {
                write!(f, "  {}", Printable(&line.what))?;
                if let Some((file, number)) = &line.from {
                    write!(f, "  [{}:{number}]", Printable(file))?;
                }
                writeln!(f)?;
                if !line.reason.is_empty() {
                    writeln!(f, "      {}", Printable(&line.reason))?;
                }
            }
        }
        Ok(())
    }
}
