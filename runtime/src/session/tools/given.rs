//! What a call of a tool gets: what its component asks for, and of that what the profile gives. Pure.
//! It never gives what only one of the two says.

use crate::backend::wasm::manifest::Manifest;
use crate::backend::wasm::{CallGrant, Files, Limits};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use stockade_policy::{Ambient, ExpandedProfile, Limit};

/// One MiB, bytes.
const MIB: u64 = 1024 * 1024;

/// What a session has for its tools.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where relative paths begin: the workspace, as commands name it.
    pub directory: PathBuf,
    /// Variables of the sandbox: what the profile lets in and sets, and placeholders.
    pub environment: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The grant of one call. `granted` is what the profile's grants on the tool give, `limits` are those of its permit.
pub fn given(
    manifest: &Manifest,
    profile: &ExpandedProfile,
    granted: Ambient,
    limits: &stockade_policy::Limits,
    around: &Surroundings,
) -> CallGrant {
    let ceiling = &manifest.ceiling;
    let most = match profile.files_for_tools() {
        stockade_policy::Files::None => Files::None,
        stockade_policy::Files::Read => Files::Read,
        stockade_policy::Files::Write => Files::Write,
    };
    let variable = |name: &String| {
        let value = around.environment.get(name.as_bytes())?;
        // A tool's variables are text (wasi:cli/environment).
        Some((name.clone(), String::from_utf8(value.clone()).ok()?))
    };
    CallGrant {
        files: ceiling.files.min(most),
        directory: around.directory.clone(),
        network: ceiling.network && profile.net_grants().next().is_some(),
        sockets: ceiling.sockets && granted.sockets && profile.net_grants().next().is_some(),
        clocks: ceiling.clocks && granted.clocks,
        random: ceiling.random && granted.random,
        env: ceiling.env.iter().filter_map(variable).collect(),
        arguments: ceiling.arguments && granted.arguments,
        stdin: ceiling.stdin && granted.stdin,
        limits: bounded(manifest, limits),
    }
}

/// The least of what the component, the profile and this program say; a component that asks for more than is usual gets it
/// where the profile says no less.
fn bounded(manifest: &Manifest, limits: &stockade_policy::Limits) -> Limits {
    let usual = Limits::default();
    let seconds = |limit| limits.get(limit).map_or(Duration::MAX, Duration::from_secs);
    let mib = |limit| limits.get(limit).map_or(u64::MAX, |mib| mib.saturating_mul(MIB));
    let wall = manifest.limits.wall_s.map_or(usual.wall, Duration::from_secs).min(seconds(Limit::WallS));
    let memory = manifest.limits.memory_mib.map_or(usual.memory_bytes, |mib| mib.saturating_mul(MIB));
    Limits {
        wall,
        // There is one thread: it cannot use more time than passes.
        cpu: wall.min(seconds(Limit::CpuS)),
        memory_bytes: memory.min(mib(Limit::MemoryMib)),
        output_bytes: usual.output_bytes.min(mib(Limit::OutputMib)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_policy::{AbsolutePath, HostFacts, ToolName};

    #[track_caller]
    fn check(ceiling: &str, rules: &str, expect: impl Fn(&CallGrant) -> bool) {
        let manifest = format!(
            "{{\"name\":\"t\",\"version\":\"1\",\"description\":\"d\",\"input_schema\":{{\"type\":\"object\"}},{ceiling}}}"
        );
        let manifest = Manifest::parse(manifest.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let profile = format!("profile = 1\nname = \"p\"\n{rules}");
        let parsed = stockade_policy::parse("p.toml", profile.as_bytes()).unwrap_or_else(|all| panic!("{all}"));
        let path = |text: &str| AbsolutePath::parse(text.as_bytes()).expect("a clean path");
        let facts =
            HostFacts { home: path("/home/ada"), workspace: path("/home/ada/work"), variables: &BTreeMap::new() };
        let resolved = stockade_policy::resolve(&parsed, &mut |_| Ok(None)).expect("it names no other");
        let profile = resolved.expand(&facts).expect("every path has a place");
        let host: BTreeMap<&[u8], &[u8]> =
            [(&b"LANG"[..], &b"C"[..]), (b"TERM", b"\xff"), (b"KEY", b"secret")].into_iter().collect();
        let around = Surroundings { directory: "/home/ada/work".into(), environment: profile.environment(host) };
        let granted = profile.ambient_for(&ToolName::parse("t").expect("a name"), None);
        let grant = given(&manifest, &profile, granted, profile.limits(), &around);
        assert!(expect(&grant), "{ceiling}\n{rules}\n{grant:?}");
    }

    #[test]
    fn a_call_gets_what_both_component_and_profile_say() {
        const READ: &str = "[[grant.read]]\npath = \".\"\nreason = \"r\"\n";
        const WRITE: &str = "[[grant.write]]\npath = \".\"\nreason = \"r\"\n";
        const NET: &str = "[[grant.net]]\nhost = \"api.test\"\nreason = \"r\"\n";
        const ENV: &str = "[[grant.env]]\nname = \"LANG\"\nreason = \"r\"\n[[grant.env]]\nname = \"TERM\"\nreason = \"r\"\n\
                           [[grant.env]]\nname = \"MODE\"\nvalue = \"x\"\nreason = \"r\"\n";
        for (asks, rules, files) in [
            ("write", "", Files::None),
            ("write", READ, Files::Read),
            ("write", WRITE, Files::Write),
            ("read", WRITE, Files::Read),
            ("none", WRITE, Files::None),
        ] {
            check(&format!("\"ceiling\":{{\"files\":\"{asks}\"}}"), rules, |grant| grant.files == files);
        }
        for (asks, rules, network) in [(true, NET, true), (true, "", false), (false, NET, false)] {
            check(&format!("\"ceiling\":{{\"network\":{asks}}}"), rules, |grant| grant.network == network);
        }
        let variables = |names: &[(&str, &str)]| -> Vec<(String, String)> {
            names.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let asks = "\"ceiling\":{\"env\":[\"LANG\",\"KEY\",\"TERM\",\"MODE\",\"HOME\"]}";
        check(asks, "", |grant| grant.env.is_empty());
        check(asks, ENV, |grant| grant.env == variables(&[("LANG", "C"), ("MODE", "x")]));
        check("\"ceiling\":{}", ENV, |grant| grant.env.is_empty() && !grant.clocks && !grant.random);
        const TOOL: &str = "[[grant.tool]]\nname = \"t\"\nreason = \"r\"\n";
        const SOCKETS: &str = "[[grant.tool]]\nname = \"t\"\nsockets = true\nreason = \"r\"\n";
        let both = format!("{SOCKETS}{NET}");
        for (asks, rules, sockets) in [
            (true, both.as_str(), true),
            (true, SOCKETS, false),
            (true, NET, false),
            (true, &format!("{TOOL}{NET}"), false),
            (false, &both, false),
        ] {
            let asks = format!("\"ceiling\":{{\"sockets\":{asks}}}");
            check(&asks, rules, |grant| grant.sockets == sockets && !grant.network);
        }
        let asks = "\"ceiling\":{\"clocks\":true,\"random\":true}";
        check(asks, "", |grant| !grant.clocks && !grant.random);
        check(asks, TOOL, |grant| grant.clocks && grant.random);
        check(asks, &format!("{TOOL}clocks = false\n"), |grant| !grant.clocks && grant.random);
        check(asks, &format!("{TOOL}random = false\n"), |grant| grant.clocks && !grant.random);
        check("\"ceiling\":{\"clocks\":true}", TOOL, |grant| grant.clocks && !grant.random);
        check(asks, TOOL, |grant| !grant.arguments && !grant.stdin);
        check("\"ceiling\":{\"random\":true}", TOOL, |grant| !grant.clocks && grant.random);
    }

    #[test]
    fn the_lowest_limit_holds() {
        let seconds = Duration::from_secs;
        check("\"limits\":{}", "", |grant| grant.limits == Limits::default());
        check("\"limits\":{\"wall_s\":900,\"memory_mib\":512}", "", |grant| {
            (grant.limits.wall, grant.limits.cpu, grant.limits.memory_bytes) == (seconds(900), seconds(900), 512 * MIB)
        });
        let profile = "[limits]\nwall_s = 30\ncpu_s = 5\nmemory_mib = 64\noutput_mib = 1\n";
        check("\"limits\":{\"wall_s\":900,\"memory_mib\":512}", profile, |grant| {
            grant.limits == Limits { wall: seconds(30), cpu: seconds(5), memory_bytes: 64 * MIB, output_bytes: MIB }
        });
        check("\"limits\":{\"wall_s\":2,\"memory_mib\":16}", profile, |grant| {
            (grant.limits.wall, grant.limits.cpu, grant.limits.memory_bytes) == (seconds(2), seconds(2), 16 * MIB)
        });
    }
}
