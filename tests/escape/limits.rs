//! Bombs, each bounded, each against the limit that has to stop it and say so.
//! It never asks for more than the machine can stand when no wall holds.

use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must};

/// A bomb: what must not happen, the limit's line in the profile, the word by which it is reported, the probe's words.
struct Bomb {
    name: &'static str,
    limit: &'static str,
    word: Option<&'static str>,
    sub: &'static [&'static str],
}

/// A bomb whose limit the guest merely runs into: the call fails inside, nobody is ended.
const fn refused(name: &'static str, limit: &'static str, sub: &'static [&'static str]) -> Bomb {
    Bomb { name, limit, word: None, sub }
}

/// A bomb that is ended and reported.
const fn ended(name: &'static str, limit: &'static str, word: &'static str, sub: &'static [&'static str]) -> Bomb {
    Bomb { name, limit, word: Some(word), sub }
}

const BOMBS: &[Bomb] = &[
    refused("a_fork_bomb_does_not_pass_its_limit", "pids = 64", &["fork-bomb", "300"]),
    refused("a_nested_fork_bomb_does_not_pass_its_limit", "pids = 64", &["fork-bomb-nested", "200"]),
    refused("a_thread_bomb_does_not_pass_its_limit", "pids = 64", &["thread-bomb", "300"]),
    refused("descriptors_do_not_pass_their_limit", "open_files = 128", &["descriptor-bomb", "900"]),
    ended("memory_does_not_pass_its_limit", "memory_mib = 256", "memory", &["memory-bomb", "640"]),
    ended(
        "memory_of_many_processes_does_not_pass_its_limit",
        "memory_mib = 256",
        "memory",
        &["memory-bomb-shared-out", "640"],
    ),
    ended("shared_memory_does_not_pass_its_limit", "memory_mib = 256", "memory", &["memory-bomb-mapped", "640"]),
    ended("memory_of_no_process_does_not_pass_its_limit", "memory_mib = 256", "memory", &["memory-bomb-file", "640"]),
    refused("files_in_shm_do_not_pass_the_limit_of_memory", "memory_mib = 256", &["disk-bomb", "/dev/shm", "640"]),
    refused("files_in_tmp_do_not_pass_the_limit", "disk_mib = 32\nmemory_mib = 512", &["disk-bomb", "/tmp", "128"]),
    refused(
        "many_files_in_tmp_do_not_pass_the_limit",
        "disk_mib = 32\nmemory_mib = 512",
        &["disk-bomb-many-files", "/tmp", "128"],
    ),
    refused("files_in_home_do_not_pass_the_limit", "disk_mib = 32\nmemory_mib = 512", &["disk-bomb", "{home}", "128"]),
    ended("a_file_in_the_layer_does_not_pass_the_limit", "disk_mib = 32", "disk", &["disk-bomb", "{ws}", "192"]),
    ended(
        "many_files_in_the_layer_do_not_pass_the_limit",
        "disk_mib = 32",
        "disk",
        &["disk-bomb-many-files", "{ws}", "192"],
    ),
    ended("processor_time_does_not_pass_its_limit", "cpu_s = 1", "cpu", &["spin", "3"]),
    ended("processor_time_of_children_does_not_pass_its_limit", "cpu_s = 2", "cpu", &["spin-in-children", "5"]),
    ended("wall_time_does_not_pass_its_limit", "wall_s = 1", "wall", &["wait", "8"]),
    ended("output_does_not_pass_its_limit", "output_mib = 1", "output", &["output-bomb", "16"]),
];

pub(crate) fn stories() -> Vec<Story> {
    let bombs =
        BOMBS.iter().map(|bomb| Story::new(format!("limits::{}", bomb.name), move |stage| explode(stage, bomb)));
    bombs.chain([Story::new("limits::many_empty_files_in_tmp_do_not_use_the_host_up", inodes)]).collect()
}

fn explode(stage: &mut Stage, bomb: &Bomb) -> Told {
    let command = [&["{bin}/stockade-probe"], bomb.sub].concat();
    let control = stage.plain(&command)?;
    must(control.code() == 0, || format!("the control did not succeed\n{}", control.told()))?;
    let profile = stage.probe_profile("bomb", &format!("[limits]\n{}\n", bomb.limit))?;
    let confined = stage.run(&["--profile", &profile], &command)?;
    must(confined.code() != 0 && !confined.out().contains("succeeded"), || {
        format!("NOT STOPPED\n{}", confined.told())
    })?;
    must(confined.code() != 125, || format!("it never ran\n{}", confined.told()))?;
    let Some(word) = bomb.word else {
        // Refused inside, or ended with the reason: never ended without a word.
        let told = confined.out().contains("refused") || confined.err().contains("stockade: limit ");
        return must(told, || format!("ended without a word of the limit\n{}", confined.told()));
    };
    must(confined.err().contains(&format!("limit {word}")), || {
        format!("no word of the limit \"{word}\"\n{}", confined.told())
    })?;
    let told = stage.report()?.printed("limit");
    must(told.contains(word), || format!("the report's limit is {told}\n{}", confined.told()))?;
    // What the session cost the host must be given back: the layer is bounded too.
    let verified = stage.stockade(&["verify", "last"])?;
    must(verified.code() == 0, || format!("the log of a call that a limit ended does not verify\n{}", verified.told()))
}

/// A tmpfs without an inode limit keeps kernel memory that no process owns.
fn inodes(stage: &mut Stage) -> Told {
    let command = ["{bin}/stockade-probe", "file-bomb", "/tmp", "400000"];
    let profile = stage.probe_profile("inodes", "[limits]\nmemory_mib = 128\ndisk_mib = 32\nwall_s = 60\n")?;
    let control = stage.plain(&["{bin}/stockade-probe", "file-bomb", "{hidden}", "20000"])?;
    must(control.code() == 0, || format!("the control did not succeed\n{}", control.told()))?;
    let confined = stage.run(&["--profile", &profile], &command)?;
    must(confined.code() != 0 && confined.code() != 125, || format!("NOT STOPPED\n{}", confined.told()))
}
