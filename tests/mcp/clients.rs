//! Clients from the registries: the libraries of Python and TypeScript in both eras, and the Inspector's command line.
//! It never takes a library that cannot be loaded for one that works.

use crate::line::TOOLS;
use std::path::{Path, PathBuf};
use stockade_tests::binaries;
use stockade_tests::process::{Ended, Program};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

/// Library, as its script calls it, and the version of the protocol that they agree on.
const PYTHON: [(&str, &str); 2] = [("legacy", "2025-11-25"), ("auto", "2026-07-28")];
const TYPESCRIPT: [(&str, &str, &str); 3] =
    [("sdk", "sdk", ""), ("client", "client", "2025-11-25"), ("client", "stateless", "2026-07-28")];

pub(crate) fn stories() -> Vec<Story> {
    let mut stories = Vec::new();
    for (era, version) in PYTHON {
        stories.push(Story::new(format!("clients::python_{era}"), move |stage| {
            let library = part("mcp-python")?;
            let mut program = script(stage, "/usr/bin/python3", "python_client.py", era)?;
            program.environment.push(("PYTHONPATH".into(), library.into()));
            program.environment.push(("PYTHONDONTWRITEBYTECODE".into(), "1".into()));
            held(stage, &program, version)
        }));
    }
    for (package, library, version) in TYPESCRIPT {
        stories.push(Story::new(format!("clients::typescript_{library}"), move |stage| {
            let node = part("mcp-node")?.join(package);
            // A module finds libraries above itself, and nowhere else.
            let text = std::fs::read_to_string(outside("typescript_client.mjs"))?;
            stage.scene.file_with_mode("{root}/client/client.mjs", "", 0o644)?;
            std::fs::write(stage.scene.path("{root}/client/client.mjs"), text)?;
            stage.scene.link("{root}/client/node_modules", &node.join("node_modules").display().to_string())?;
            let mut program = script(stage, "/usr/bin/node", "typescript_client.mjs", library)?;
            program.argv[1] = stage.scene.path("{root}/client/client.mjs").into();
            held(stage, &program, version)
        }));
    }
    stories.push(Story::new("clients::inspector", |stage| {
        let inspector = part("mcp-node")?.join("inspector/node_modules/.bin/mcp-inspector").display().to_string();
        let server = ["--cli", "{bin}/stockade", "mcp", "--workspace", "{ws}", "--method"];
        let list = stage.plain(&[&[inspector.as_str()], &server[..], &["tools/list"]].concat())?;
        must(list.code() == 0 && list.out().contains("\"audit_receipt\""), || list.told())?;
        let call = ["tools/call", "--tool-name", "bash", "--tool-arg", "command=echo inspected"];
        let call = stage.plain(&[&[inspector.as_str()], &server[..], &call].concat())?;
        must(call.code() == 0 && call.out().contains("inspected\\n"), || call.told())?;
        stage.answers(0, &["verify", "last"]).map(drop)
    }));
    stories
}

/// A script of a client: what it must hold it holds itself.
fn script(stage: &Stage, runtime: &str, name: &str, kind: &str) -> Result<Program, Stop> {
    let profile = stage.profile("client", TOOLS)?;
    let path = outside(name);
    let path = path.to_str().ok_or_else(|| "the tests lie at a path that is no text".to_owned())?;
    Ok(stage.program(&[runtime, path, kind, "{bin}/stockade", "{ws}", &profile]))
}

fn held(stage: &Stage, program: &Program, version: &str) -> Told {
    if binaries::under_test()?.is_none() {
        return Err(Stop::Skip("controls only".to_owned()));
    }
    let ended: Ended = stage.go(program)?;
    must(ended.code() == 0 && ended.out().ends_with("held\n"), || ended.told())?;
    must(ended.out().contains(&format!("version {version}")), || format!("not {version}: {}", ended.told()))?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

/// A file of the tests that runs outside of any sandbox.
pub(crate) fn outside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp/outside").join(name)
}

/// What tests/mcp/fetch made.
pub(crate) fn part(name: &str) -> Result<PathBuf, Stop> {
    let parts = binaries::variable("STOCKADE_TEST_CLIENTS").map(PathBuf::from);
    let part = parts.map(|parts| parts.join(name)).filter(|part| part.is_dir());
    part.ok_or_else(|| {
        Stop::Skip(format!("{name} is not there: tests/mcp/fetch makes it, and STOCKADE_TEST_CLIENTS says where"))
    })
}
