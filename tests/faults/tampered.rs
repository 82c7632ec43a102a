//! Logs that another version, another user or another hand has written.
//! It never takes the place of the tamper matrix beside the format: here is what a person sees.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must, same};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("tampered::a_log_of_a_newer_version_is_not_read_by_guess", newer),
        Story::new("tampered::a_log_that_was_altered_does_not_verify", altered),
        Story::new("tampered::a_log_that_was_cut_short_does_not_verify", |stage| {
            let segment = segment(stage)?;
            let bytes = fs::read(&segment)?;
            fs::write(&segment, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            stage.answers(2, &["verify", "last"]).map(drop)
        }),
        Story::new("tampered::a_session_whose_log_is_gone_is_not_forgotten", |stage| {
            let log = log(stage)?;
            fs::remove_dir_all(&log)?;
            let listed = stage.answers(0, &["log", "list"])?;
            must(!listed.out.is_empty(), || "nobody knows of it any more".to_owned())
        }),
        Story::new("tampered::a_directory_without_a_log_is_not_verified", |stage| {
            stage.answers(0, &["run", "-q", "-w", "{ws}", "--", "/bin/true"])?;
            for (words, code) in [(["verify", "{ws}"], &[2, 3, 4][..]), (["verify", "{root}/nosuch"], &[4])] {
                let ended = stage.stockade(&words)?;
                must(code.contains(&ended.code()), || ended.told())?;
            }
            Ok(())
        }),
        Story::new("tampered::a_copied_log_is_not_taken_on_its_own_word", |stage| {
            let log = log(stage)?;
            stage.plain(&["/bin/cp", "-a", &log.display().to_string(), "{root}/copy"])?;
            let ended = stage.answers(3, &["verify", "{root}/copy"])?;
            must(ended.out().contains("  vouched  self-attested\n"), || ended.told())?;
            let vkey = stage.text("{state}/ledger/vkey");
            let with = stage.answers(0, &["verify", "{root}/copy", "--vkey", vkey.trim()])?;
            must(with.out().contains("  vouched  ledger key from outside\n"), || with.told())
        }),
        Story::new("tampered::a_log_that_others_can_write_is_not_added_to", |stage| {
            same("exit", stage.run(&["-q"], &["/bin/bash", "-c", "echo x > f"])?.code(), 0)?;
            let log = PathBuf::from(stage.report()?.text("log").unwrap_or_default());
            fs::set_permissions(&log, Permissions::from_mode(0o777))?;
            let ended = stage.answers(125, &["apply", "last"])?;
            let told = format!(
                "error: log path \"{}\" is writable by others\n\
                 hint: the log must lie in a directory that belongs to you and that only you can write: chmod 700\n",
                log.display()
            );
            same("stderr", ended.err(), told)?;
            must(!stage.scene.path("{ws}/f").exists(), || "applied without a word in the log".to_owned())
        }),
    ]
}

/// A run, and the directory of its log.
fn log(stage: &Stage) -> Result<PathBuf, Stop> {
    stage.run(&["-q"], &["/bin/bash", "-c", "echo x > f"])?;
    stage.answers(0, &["verify", "last"])?;
    Ok(PathBuf::from(stage.report()?.text("log").unwrap_or_default()))
}

fn segment(stage: &Stage) -> Result<PathBuf, Stop> {
    Ok(log(stage)?.join("seg/000000.seg"))
}

/// CRC-32C, bit by bit: twenty frames of a test need no table.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// The header says version 2, and its checksum is right: as a later stockade would write it.
fn newer(stage: &mut Stage) -> Told {
    let path = segment(stage)?;
    let mut bytes = fs::read(&path)?;
    let at = bytes
        .windows(6)
        .position(|window| window == b"\"v\":1,")
        .ok_or_else(|| "the header has no version".to_owned())?;
    bytes[at + 4] = b'2';
    // frame = len:u32 | type:u8 | crc:u32 | payload, the checksum over all but itself.
    let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let end = 9 + usize::try_from(length).map_err(|e| e.to_string())?;
    let crc = crc32c(&[&bytes[..5], &bytes[9..end]].concat());
    bytes[5..9].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes)?;
    let ended = stage.answers(4, &["verify", "last"])?;
    must(ended.out().contains("version 2"), || ended.told())?;
    let shown = stage.answers(125, &["log", "show", "last"])?;
    must(shown.err().contains("version 2"), || shown.told())?;
    let applied = stage.answers(125, &["apply", "last"])?;
    must(applied.err().contains("version 2"), || applied.told())?;
    must(!stage.scene.path("{ws}/f").exists(), || "applied with a log that cannot be read".to_owned())
}

fn altered(stage: &mut Stage) -> Told {
    let path = segment(stage)?;
    let mut bytes = fs::read(&path)?;
    let at = bytes.windows(6).position(|window| window == b"\"cli\"}").ok_or_else(|| "no call".to_owned())?;
    bytes[at + 1] = b'C';
    fs::write(&path, bytes)?;
    let ended = stage.answers(2, &["verify", "last"])?;
    must(ended.out().starts_with("BROKEN  "), || ended.told())
}
