//! A second opinion: the table through `seccompiler`'s own compiler, compared with our program call by call.
//! It never shares code with our compiler: it reads the table, and says aloud which rule it could not express.
//!
//! A filter of `seccompiler` says one of two things, so there is one for each verdict that the table knows: what gets
//! this verdict, against everything else. A case counts only where no earlier case of another verdict applies, so these
//! are negated in its rule; a table entry's last verdict is what is left when none of its other verdicts applies.

use super::interpreter::{Data, run};
use super::table::{self, Answer, Case, Condition, Entry, Half, Verdict};
use super::tests::{LISTS, interesting};
use super::{ARCHITECTURE, Filter, bytes, compile, verdict as returned};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a call without an entry gets: the filters' other verdict.
const REST: Verdict = Verdict::Errno(libc::ENOSYS);
/// Rules that no filter of `seccompiler` can say: a condition "these four bits are not this", which it lacks.
const INEXPRESSIBLE: &[(&str, Verdict)] = &[("socket", Verdict::Errno(libc::EPROTONOSUPPORT))];

#[test]
fn another_compiler_decides_as_ours_does() {
    let mut left_out = BTreeSet::new();
    for (sockets, record) in LISTS {
        let (ours, entries) = (compile(sockets, record).unwrap(), told_alike(table::entries(sockets, record)));
        for verdict in verdicts(&entries) {
            let theirs = Peer::new(&entries, verdict);
            left_out.extend(theirs.left_out.iter().copied());
            let compared = theirs.compare(&ours, &entries);
            assert!(compared > 1000, "{verdict:?} was compared {compared} times only");
        }
    }
    let known = INEXPRESSIBLE.iter().map(|(name, _)| *name).collect();
    assert_eq!(left_out, known, "what the other compiler could not express");
}

/// The recorder's answer is not in a program, so no program distinguishes one from another.
fn told_alike(mut entries: Vec<Entry>) -> Vec<Entry> {
    for entry in &mut entries {
        for verdict in entry.cases.iter_mut().map(|case| &mut case.verdict).chain([&mut entry.otherwise]) {
            if let Verdict::Notify(answer) = verdict {
                *answer = Answer::Allow;
            }
        }
    }
    entries
}

/// Every verdict of the table but [`REST`].
fn verdicts(entries: &[Entry]) -> Vec<Verdict> {
    let mut all: Vec<Verdict> = Vec::new();
    for entry in entries {
        let of_entry = entry.cases.iter().map(|case| case.verdict).chain([entry.otherwise]);
        for verdict in of_entry.filter(|verdict| *verdict != REST) {
            if !all.contains(&verdict) {
                all.push(verdict);
            }
        }
    }
    all
}

/// The other compiler's filter for one verdict.
struct Peer {
    verdict: Verdict,
    program: Vec<u8>,
    /// Calls whose cases for this verdict it cannot express.
    left_out: Vec<&'static str>,
}

impl Peer {
    fn new(entries: &[Entry], verdict: Verdict) -> Self {
        let mut rules = BTreeMap::new();
        let mut left_out = Vec::new();
        for entry in entries {
            match rules_for(entry, verdict) {
                Rules::Always => drop(rules.insert(i64::from(entry.number), Vec::new())),
                Rules::Some(some) => drop(rules.insert(i64::from(entry.number), some)),
                Rules::Never | Rules::Rest => {}
                Rules::Inexpressible => left_out.push(entry.name),
            }
        }
        let architecture = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, action(REST), action(verdict), architecture).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        Self { verdict, program: bytes(&program), left_out }
    }

    /// Compares the two for every number and every argument that matters; says how often.
    fn compare(&self, ours: &Filter, entries: &[Entry]) -> usize {
        let mut compared = 0;
        for number in (0..1200).chain([0x3fff_ffff]) {
            let entry = entries.iter().find(|entry| entry.number == number);
            // The last verdict of an entry with cases is what is left, and no rule of its own.
            let skipped = |entry: &Entry| matches!(rules_for(entry, self.verdict), Rules::Rest | Rules::Inexpressible);
            if entry.is_some_and(skipped) {
                continue;
            }
            for arguments in interesting(entry) {
                let data = Data { number, architecture: ARCHITECTURE, arguments };
                let ours = run(ours.bytes(), &data).value;
                let theirs = run(&self.program, &data).value;
                let (wanted, of_ours) = (u32::from(action(self.verdict)), returned(self.verdict).k);
                assert_eq!(
                    ours == of_ours,
                    theirs == wanted,
                    "{:?}: {data:x?}: {ours:#x} and {theirs:#x}",
                    self.verdict
                );
                assert_eq!(run(&self.program, &Data { architecture: 0, ..data }).value, 0x8000_0000);
                compared += 1;
            }
        }
        compared
    }
}

/// What a filter for one verdict says of one call.
enum Rules {
    /// This verdict, whatever the arguments are.
    Always,
    /// This verdict where one of these holds.
    Some(Vec<SeccompRule>),
    /// Another verdict.
    Never,
    /// This verdict where no other applies.
    Rest,
    /// Not to be said.
    Inexpressible,
}

fn rules_for(entry: &Entry, verdict: Verdict) -> Rules {
    if entry.otherwise == verdict {
        return if entry.cases.is_empty() { Rules::Always } else { Rules::Rest };
    }
    let mut rules = Vec::new();
    for (position, case) in entry.cases.iter().enumerate().filter(|(_, case)| case.verdict == verdict) {
        let earlier = entry.cases.iter().take(position).filter(|other| other.verdict != verdict);
        let mut conditions: Vec<SeccompCondition> = case.when.iter().map(expressed).collect();
        for other in earlier.filter(|other| !excludes(case, other)) {
            match negated(other) {
                Some(not) => conditions.push(not),
                None => return Rules::Inexpressible,
            }
        }
        rules.push(SeccompRule::new(conditions).unwrap());
    }
    if rules.is_empty() { Rules::Never } else { Rules::Some(rules) }
}

/// Whether both cases cannot hold at once: they want different values of the same bits.
fn excludes(case: &Case, other: &Case) -> bool {
    case.when.iter().any(|a| {
        other.when.iter().any(|b| {
            let shared = a.mask & b.mask;
            a.argument == b.argument && a.value & shared != b.value & shared
        })
    })
}

fn expressed(condition: &Condition) -> SeccompCondition {
    match (condition.half, condition.mask) {
        (Half::Low, u32::MAX) => low_half(condition.argument, SeccompCmpOp::Eq, condition.value),
        (Half::Low, mask) => low_half(condition.argument, SeccompCmpOp::MaskedEq(u64::from(mask)), condition.value),
        (Half::High, mask) => {
            let (mask, value) = (u64::from(mask) << 32, u64::from(condition.value) << 32);
            let operator = SeccompCmpOp::MaskedEq(mask);
            SeccompCondition::new(condition.argument, SeccompCmpArgLen::Qword, operator, value).unwrap()
        }
    }
}

/// "Not this case": one condition that is about a whole value or about one bit.
fn negated(case: &Case) -> Option<SeccompCondition> {
    let [Condition { argument, half: Half::Low, mask, value }] = case.when.as_slice() else { return None };
    match (*mask, mask.count_ones()) {
        (u32::MAX, _) => Some(low_half(*argument, SeccompCmpOp::Ne, *value)),
        (mask, 1) => Some(low_half(*argument, SeccompCmpOp::MaskedEq(u64::from(mask)), mask & !value)),
        _ => None,
    }
}

fn low_half(argument: u8, operator: SeccompCmpOp, value: u32) -> SeccompCondition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, u64::from(value)).unwrap()
}

fn action(verdict: Verdict) -> SeccompAction {
    match verdict {
        Verdict::Allow => SeccompAction::Allow,
        Verdict::Errno(number) => SeccompAction::Errno(number.unsigned_abs()),
        Verdict::Kill => SeccompAction::KillProcess,
        // It has no such action: another that the table never uses stands for it, whichever answer is to be given.
        Verdict::Notify(_) => SeccompAction::Trace(0),
    }
}
