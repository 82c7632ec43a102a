//! `stockade image` and what `stockade doctor` says of engines, as people and scripts see it.
//! It never compares prose: only what a person must be told, and what a script reads.

use crate::house::{HOUSES, House, tag};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("commands::an_image_is_built_and_named_for_a_profile", |stage| {
            let podman = HOUSES[if stage.scene.person().is_root() { 2 } else { 3 }];
            for house in [HOUSES[0], podman] {
                let engine = reached(&house)?;
                stage.scene.file("{ws}/Dockerfile", &format!("FROM {}\nCOPY . /made\n", tag("busybox")))?;
                stage.scene.file("{ws}/content", house.name)?;
                let built = stage.answers(0, &["image", "build", "--engine", &engine, "{ws}"])?;
                let line = built.out();
                let pinned = line.starts_with("image = \"") && line.contains("sha256:") && line.ends_with("\"\n");
                must(pinned && line.lines().count() == 1, || built.told())?;
                // No progress where nobody watches.
                must(!built.err().contains('\u{1b}') && !built.err().contains("COPY"), || built.told())?;
                let json = stage.answers(0, &["image", "build", "--json", "--engine", &engine, "{ws}"])?;
                let value: serde_json::Value = serde_json::from_slice(&json.out).map_err(|e| e.to_string())?;
                same("the same image", format!("image = {}\n", value["image"]), line)?;
            }
            Ok(())
        }),
        Story::new("commands::images_are_listed", |stage| {
            let engine = reached(&HOUSES[0])?;
            stage.environment.push(("DOCKER_HOST".into(), engine.into()));
            let listed = stage.answers(0, &["image", "list"])?;
            must(listed.out().contains(&tag("busybox")), || listed.told())?;
            let listed = stage.answers(0, &["image", "list", "--json"])?;
            let value: serde_json::Value = serde_json::from_slice(&listed.out).map_err(|e| e.to_string())?;
            must(value.as_array().is_some_and(|images| images.len() >= 6), || listed.told())
        }),
        Story::new("commands::mistakes_are_told", |stage| {
            let check = |words: &[&str], part: &str| {
                let ended = stage.answers(125, words)?;
                must(ended.err().contains(part) && ended.err().contains("hint: "), || ended.told())
            };
            check(&["image", "list", "--engine", "tcp://127.0.0.1:2375"], "unix socket")?;
            check(&["image", "list", "--engine", "unix:///nowhere"], "no such file")?;
            check(&["image", "build", "{ws}"], "no Dockerfile")
        }),
        Story::new("commands::an_engine_that_may_not_be_asked_says_who_may", may_not),
        Story::new("commands::the_doctor_tells_of_engines", |stage| {
            let engine = reached(&HOUSES[0])?;
            stage.environment.push(("DOCKER_HOST".into(), engine.clone().into()));
            let told = stage.stockade(&["doctor"])?;
            let parts = ["container engines:", "docker ", "rootful", "runc", "named by DOCKER_HOST"];
            must(parts.iter().all(|part| told.out().contains(part)), || told.told())?;
            let told = stage.stockade(&["doctor", "--json"])?;
            let value: serde_json::Value = serde_json::from_slice(&told.out).map_err(|e| e.to_string())?;
            same("make", &value["engines"][0]["kind"], &"docker".into())?;
            // Its absence changes nothing of what the machine can hold.
            let with = told.code();
            stage.environment.push(("DOCKER_HOST".into(), "unix:///nowhere".into()));
            let told = stage.stockade(&["doctor"])?;
            same("exit code", told.code(), with)?;
            must(told.out().contains("no such file"), || told.told())
        }),
    ]
}

/// Podman's service is for its own user alone, Docker's for a group too.
fn may_not(stage: &mut Stage) -> Told {
    if stage.scene.person().is_root() {
        return Err(Stop::Skip("root may".to_owned()));
    }
    let check = |socket: &Path, way: &str| {
        let ended = stage.answers(125, &["image", "list", "--engine", &format!("unix://{}", socket.display())])?;
        must(ended.err().contains("permission denied") && ended.err().contains(way), || ended.told())
    };
    check(&HOUSES[2].socket()?, "only root may ask it")?;
    let socket = stage.scene.path("{root}/engine.sock");
    let _listener = UnixListener::bind(&socket)?;
    std::os::unix::fs::chown(&socket, Some(0), Some(GROUP_OF_OTHERS))?;
    std::fs::set_permissions(&socket, Permissions::from_mode(0o660))?;
    check(&socket, "usermod -aG docker")
}

/// A group that no person of these tests is in: `daemon`, in every Linux (Linux Standard Base, "User & Group Names").
const GROUP_OF_OTHERS: u32 = 1;

/// An engine's address. Docker's lets the tests' own group in.
fn reached(house: &House) -> Result<String, Stop> {
    let socket = house.socket()?;
    Ok(format!("unix://{}", socket.display()))
}
