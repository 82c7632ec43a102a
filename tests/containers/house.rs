//! The engines that the tests are told of, and what a test needs to speak to one.
//! It never starts or ends an engine: `tests/containers/engines` does, once for a machine.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use stockade::backend::container::engine::{
    Access, Container, Engine, Image, Kind, Mount, Pull, Rights, Spec, State, Wanted,
};
use stockade_tests::binaries;
use stockade_tests::story::{Stop, Told, must};

/// Longest time for something to come about; a bound against hanging, not a measurement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What every engine has to keep, by its name.
pub(crate) type Promise = (&'static str, fn(&House) -> Told);
/// What is told without one of them, or with several.
pub(crate) type Tale = (&'static str, fn() -> Told);

/// An engine with a runtime.
#[derive(Debug, Clone, Copy)]
pub(crate) struct House {
    /// For the names of tests.
    pub(crate) name: &'static str,
    /// Where its socket is told.
    pub(crate) variable: &'static str,
    /// Its make.
    pub(crate) kind: Kind,
    /// The runtime that is asked for; Podman's is its service's.
    pub(crate) runtime: Option<&'static str>,
}

/// Every engine with a runtime that must keep the same promises.
pub(crate) const HOUSES: [House; 4] = [
    House { name: "docker_runc", variable: "STOCKADE_TEST_DOCKER", kind: Kind::Docker, runtime: Some("runc") },
    House { name: "docker_runsc", variable: "STOCKADE_TEST_DOCKER", kind: Kind::Docker, runtime: Some("runsc") },
    House { name: "podman", variable: "STOCKADE_TEST_PODMAN", kind: Kind::Podman, runtime: None },
    House { name: "podman_rootless", variable: "STOCKADE_TEST_PODMAN_ROOTLESS", kind: Kind::Podman, runtime: None },
];

impl House {
    /// Its socket. Skips the test where the machine has no such engine.
    pub(crate) fn socket(&self) -> Result<PathBuf, Stop> {
        let path = binaries::variable(self.variable);
        path.map(PathBuf::from)
            .ok_or_else(|| Stop::Skip(format!("{} is not set: tests/containers/engines", self.variable)))
    }

    /// The engine, found as a person would name it.
    pub(crate) fn engine(&self) -> Result<Engine, Stop> {
        let wanted = Wanted::parse(&format!("unix://{}", self.socket()?.display())).map_err(failed)?;
        let engine = Engine::find(&wanted, &BTreeMap::new()).map_err(failed)?;
        if let Some(runtime) = self.runtime
            && !engine.about().runtimes.contains_key(runtime)
        {
            return Err(Stop::Skip(format!("the engine has no {runtime}")));
        }
        Ok(engine)
    }

    /// An engine that speaks for a user of this machine, and not for root.
    pub(crate) fn is_rootless(&self) -> bool {
        self.name == "podman_rootless"
    }
}

/// An error of the product as the end of a test.
pub(crate) fn failed(error: stockade::error::Error) -> Stop {
    Stop::Fail(error.to_string())
}

/// An image of `tests/containers/images`.
pub(crate) fn image(engine: &Engine, name: &str) -> Result<Image, Stop> {
    engine.image(&tag(name), Pull::Never, &mut |_| {}).map_err(failed)
}

/// What it is called.
pub(crate) fn tag(name: &str) -> String {
    format!("localhost/stockade-test/{name}:1")
}

/// A directory that is gone after the test, and that users of containers can reach.
#[derive(Debug)]
pub(crate) struct Ground(PathBuf);

impl Ground {
    pub(crate) fn new() -> Result<Self, Stop> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("stockade-containers-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new("/var/tmp").join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A directory that everybody may write, so that it is the mount that holds and not a permission bit.
    pub(crate) fn open(&self, name: &str) -> Result<PathBuf, Stop> {
        let path = self.0.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o777))?;
        Ok(path)
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> Result<PathBuf, Stop> {
        let path = self.0.join(name);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        fs::write(&path, content)?;
        Ok(path)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A profile that allows everything but what no program of these tests calls: that there is one can be seen.
pub(crate) const SECCOMP: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kexec_load"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#;

/// A container of these tests: a program of the busybox image, and limits.
pub(crate) fn spec(house: &House, image: &Image, entrypoint: &[&str]) -> Spec {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    Spec {
        name: format!("stockade-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)),
        image_id: image.id.clone(),
        runtime: house.runtime.map(str::to_owned),
        user: (1000, 1000),
        entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(),
        mounts: Vec::new(),
        memory_bytes: Some(256 * 1024 * 1024),
        pids: Some(64),
        seccomp: SECCOMP.to_owned(),
        labels: BTreeMap::from([("test".to_owned(), house.name.to_owned())]),
    }
}

/// A mount for a spec.
pub(crate) fn mount(source: &Path, target: &str, access: Access) -> Mount {
    Mount { source: source.to_owned(), target: target.into(), access }
}

/// Waits until a container has ended.
pub(crate) fn ended(container: &Container) -> Result<State, Stop> {
    let until = Instant::now() + PATIENCE;
    loop {
        match container.state().map_err(failed)? {
            State::Created | State::Running => {}
            state @ (State::Ended { .. } | State::Gone) => return Ok(state),
        }
        must(Instant::now() < until, || "it does not end".to_owned())?;
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether limits are kept: an ordinary user's engine has no cgroups of its own in version 1, and a runtime may be told to
/// leave them alone.
pub(crate) fn keeps_limits(engine: &Engine, house: &House) -> bool {
    let about = engine.about();
    let ignores = house.runtime.and_then(|runtime| about.runtimes.get(runtime));
    let ignores = ignores.is_some_and(|arguments| arguments.iter().any(|argument| argument.contains("ignore-cgroups")));
    let without_cgroups = about.rights == Rights::Rootless && about.cgroup_version == "1";
    !ignores && !without_cgroups
}
