//! Finding an engine: every way that leads to one, and what is said where none leads to one.
//! It never looks at engines of this machine that are not the tests' own.

use crate::house::{Ground, HOUSES, Tale, failed};
use std::collections::BTreeMap;
use std::path::Path;
use stockade::backend::container::engine::{Engine, Kind, Rights, Wanted};
use stockade::error::Fault;
use stockade_tests::story::{Stop, Told, must, same};

/// Stories that need an engine, or none.
pub(crate) const STORIES: &[Tale] = &[
    ("every_engine_says_what_it_is", every_engine_says_what_it_is),
    ("variables_lead_to_an_engine", variables_lead_to_an_engine),
    ("the_context_of_the_docker_command_leads_to_an_engine", the_context_leads_to_an_engine),
    ("a_runtime_directory_leads_to_an_engine", a_runtime_directory_leads_to_an_engine),
    ("a_make_is_looked_for_everywhere", a_make_is_looked_for_everywhere),
    ("an_engine_that_is_named_and_does_not_answer_is_not_replaced", a_named_one_is_not_replaced),
    ("an_engine_on_another_machine_is_refused", another_machine_is_refused),
    ("what_was_tried_is_told", what_was_tried_is_told),
];

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// The socket that is found, or what is said.
fn found(wanted: &Wanted, pairs: &[(&str, &str)]) -> Result<String, stockade::error::Error> {
    Engine::find(wanted, &variables(pairs)).map(|engine| engine.about().socket.display().to_string())
}

fn docker() -> Result<String, Stop> {
    Ok(HOUSES[0].socket()?.display().to_string())
}

fn every_engine_says_what_it_is() -> Told {
    for house in [HOUSES[0], HOUSES[2], HOUSES[3]] {
        let engine = house.engine()?;
        let about = engine.about();
        same("make", about.kind, house.kind)?;
        same("rights", about.rights, if house.is_rootless() { Rights::Rootless } else { Rights::Rootful })?;
        same("socket", &about.socket, &house.socket()?)?;
        let told =
            [&about.version, &about.api_version, &about.storage_driver, &about.cgroup_version, &about.default_runtime];
        must(told.iter().all(|text| !text.is_empty()), || format!("{about:#?}"))?;
        must(about.runtimes.contains_key("runc"), || format!("{:?}", about.runtimes))?;
        let machine = std::env::consts::ARCH;
        must(matches!((machine, about.architecture.as_str()), ("x86_64", "amd64") | ("aarch64", "arm64")), || {
            about.architecture.clone()
        })?;
    }
    let engine = HOUSES[1].engine()?;
    let runsc = engine.about().runtimes.get("runsc");
    must(runsc.is_some_and(|arguments| arguments.iter().any(|argument| argument.contains("platform"))), || {
        format!("{runsc:?}")
    })
}

fn variables_lead_to_an_engine() -> Told {
    let (docker, podman) = (docker()?, HOUSES[2].socket()?.display().to_string());
    let (docker_host, podman_host) = (format!("unix://{docker}"), format!("unix://{podman}"));
    let check = |pairs: &[(&str, &str)], expected: &str| {
        same("socket", found(&Wanted::Any, pairs).map_err(failed)?.as_str(), expected)
    };
    check(&[("DOCKER_HOST", &docker_host)], &docker)?;
    check(&[("CONTAINER_HOST", &podman_host)], &podman)?;
    check(&[("DOCKER_HOST", &docker_host), ("CONTAINER_HOST", &podman_host)], &docker)?;
    // A context does not count where a host is named.
    check(&[("DOCKER_HOST", &docker_host), ("DOCKER_CONTEXT", "nosuchcontext"), ("HOME", "/nowhere")], &docker)
}

/// Writes what `docker context create NAME --docker host=…` writes.
fn context(ground: &Ground, name: &str, host: &str) -> Told {
    use sha2::{Digest as _, Sha256};
    let digest: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let meta = format!(
        r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{{"Host":"{host}","SkipTLSVerify":false}}}}}}"#
    );
    ground.file(&format!(".docker/contexts/meta/{digest}/meta.json"), &meta).map(drop)
}

fn the_context_leads_to_an_engine() -> Told {
    let docker = docker()?;
    let ground = Ground::new()?;
    let home = ground.path().display().to_string();
    context(&ground, "box", &format!("unix://{docker}"))?;
    context(&ground, "far", "ssh://me@far")?;
    ground.file(".docker/config.json", r#"{"auths": {}, "currentContext": "box"}"#)?;
    same("by HOME", found(&Wanted::Any, &[("HOME", &home)]).map_err(failed)?, docker.clone())?;
    let config = format!("{home}/.docker");
    same("by DOCKER_CONFIG", found(&Wanted::Any, &[("DOCKER_CONFIG", &config)]).map_err(failed)?, docker)?;
    for (context, part) in [("far", "unix socket"), ("none", "cannot be used")] {
        let error = found(&Wanted::Any, &[("HOME", &home), ("DOCKER_CONTEXT", context)])
            .expect_err("there is none")
            .to_string();
        must(error.contains(part) && error.contains(context), || error.clone())?;
    }
    ground.file(".docker/config.json", "{\"currentContext\": 7")?;
    let error = found(&Wanted::Any, &[("HOME", &home)]).expect_err("it cannot be read").to_string();
    must(error.contains("config.json") && error.contains("cannot be read"), || error.clone())
}

fn a_runtime_directory_leads_to_an_engine() -> Told {
    let rootless = HOUSES[3].socket()?;
    let ground = Ground::new()?;
    std::fs::create_dir(ground.path().join("podman"))?;
    std::os::unix::fs::symlink(rootless, ground.path().join("podman/podman.sock"))?;
    let directory = ground.path().display().to_string();
    let socket = found(&Wanted::Kind(Kind::Podman), &[("XDG_RUNTIME_DIR", &directory)]).map_err(failed)?;
    // Where this machine serves podman to everybody, that one comes first.
    must(socket.ends_with("podman/podman.sock"), || socket.clone())
}

fn a_make_is_looked_for_everywhere() -> Told {
    let (docker, podman) = (docker()?, HOUSES[2].socket()?.display().to_string());
    let pairs = [("DOCKER_HOST", format!("unix://{podman}")), ("CONTAINER_HOST", format!("unix://{docker}"))];
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    same("docker", found(&Wanted::Kind(Kind::Docker), &pairs).map_err(failed)?, docker)?;
    same("podman", found(&Wanted::Kind(Kind::Podman), &pairs).map_err(failed)?, podman)
}

fn a_named_one_is_not_replaced() -> Told {
    let docker = format!("unix://{}", docker()?);
    let pairs = [("DOCKER_HOST", "unix:///nowhere/docker.sock"), ("CONTAINER_HOST", docker.as_str())];
    let error = found(&Wanted::Any, &pairs).expect_err("it does not answer");
    let text = error.to_string();
    must(
        error.fault == Fault::Operator && text.contains("/nowhere/docker.sock") && text.contains("no such file"),
        || text.clone(),
    )
}

fn another_machine_is_refused() -> Told {
    for host in ["tcp://127.0.0.1:2375", "ssh://root@127.0.0.1", "npipe:////./pipe/docker_engine"] {
        let error = found(&Wanted::Any, &[("DOCKER_HOST", host)]).expect_err("it is refused");
        let text = error.to_string();
        must(error.fault == Fault::Operator && text.contains("unix socket"), || text.clone())?;
    }
    Ok(())
}

fn what_was_tried_is_told() -> Told {
    let ground = Ground::new()?;
    let directory = ground.path().display().to_string();
    // Something that is there, and no socket; and a socket that nobody listens at.
    ground.file("docker.sock", "")?;
    std::fs::create_dir(ground.path().join("podman"))?;
    drop(std::os::unix::net::UnixListener::bind(ground.path().join("podman/podman.sock"))?);
    let wanted = Wanted::Kind(Kind::Podman);
    if Path::new("/run/podman/podman.sock").exists() {
        return Err(Stop::Skip("this machine serves podman to everybody".to_owned()));
    }
    let error = found(&wanted, &[("XDG_RUNTIME_DIR", &directory)]).expect_err("none answers").to_string();
    let parts =
        ["podman answers", "/docker.sock\" (usual): connection refused", "podman.sock\" (usual)", "hint: start one"];
    let lost: Vec<&&str> = parts.iter().filter(|part| !error.contains(**part)).collect();
    must(lost.is_empty(), || format!("{lost:?} is not in\n{error}"))
}
