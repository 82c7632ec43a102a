//! Interactive use: a person at a terminal, with `stockade run --tty` between them and a shell.
//! It never waits by the clock: every step waits for what the shell says, with a bound against hanging.

mod user;

use std::process::ExitCode;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must, same};
use user::User;

fn main() -> ExitCode {
    stockade_tests::story::run_all("terminal", stories)
}

/// Output that a terminal would act on, and what of it must not arrive.
const HOSTILE: &[(&str, &str, &str)] = &[
    ("clipboard_writes", "printf '\\033]52;c;ZXZpbA==\\007'", "\u{1b}]52"),
    ("window_titles", "printf '\\033]0;evil\\007'", "\u{1b}]0"),
    ("device_controls", "printf '\\033P$qm\\033\\\\'", "\u{1b}P"),
    ("questions_for_the_cursor", "printf '\\033[6n'", "\u{1b}[6n"),
    ("questions_for_the_terminal", "printf '\\033[c'", "\u{1b}[c"),
    ("strings_cut_in_two", "printf '\\033'; sleep 0.2; printf ']52;c;ZXZpbA==\\007'", "\u{1b}]52"),
    ("eight_bit_controls", "printf '\\302\\23552;c;ZXZpbA==\\007'", "\u{9d}"),
];

fn stories() -> Vec<Story> {
    let hostile = HOSTILE.iter().map(|(name, text, refused)| {
        Story::new(format!("terminal::{name}_do_not_reach_the_persons_terminal"), move |stage| {
            let mut user = User::sit_down(stage)?;
            user.say(&format!("{text}; echo e''nd-of-it"))?;
            user.hear("end-of-it")?;
            user.say("exit 0")?;
            let end = user.leave()?;
            // The line as it was typed is echoed: its escapes are text there.
            must(!end.heard.contains(refused), || format!("{:?}", end.heard))
        })
    });
    [hostile.collect(), keys(), settings(), reach()].into_iter().flatten().collect()
}

fn keys() -> Vec<Story> {
    vec![
        Story::new("terminal::a_shell_does_not_lose_its_prompt_or_exit_code", |stage| {
            let mut user = User::sit_down(stage)?;
            user.say("test -t 0 && test -t 1 && test -t 2 && echo a''ll-three")?;
            user.hear("all-three")?;
            user.say("exit 42")?;
            same("exit", user.leave()?.code, 42)
        }),
        Story::new("terminal::jobs_are_not_out_of_control", jobs),
        Story::new("terminal::ctrl_c_does_not_end_the_shell", |stage| {
            let mut user = User::sit_down(stage)?;
            user.say("sleep 1000; echo status=$?")?;
            user.wait_for(stage, "sleep")?;
            user.press("\u{3}")?;
            user.say("echo still''-here")?;
            user.hear("still-here")?;
            user.say("exit 3")?;
            same("exit", user.leave()?.code, 3)
        }),
        Story::new("terminal::ctrl_d_does_not_hang", |stage| {
            let mut user = User::sit_down(stage)?;
            user.press("\u{4}")?;
            same("exit", user.leave()?.code, 0)
        }),
    ]
}

fn settings() -> Vec<Story> {
    vec![
        Story::new("terminal::colours_do_not_get_lost", |stage| {
            stage.scene.folder("{ws}/directory")?;
            let mut user = User::sit_down(stage)?;
            user.say("ls --color=auto; echo e''nd")?;
            user.hear("end")?;
            user.say("exit")?;
            let heard = user.leave()?.heard;
            must(heard.contains("\u{1b}[") && heard.contains("directory"), || format!("{heard:?}"))
        }),
        Story::new("terminal::another_size_of_the_window_does_not_stop_at_stockade", |stage| {
            let mut user = User::sit_down(stage)?;
            user.say("stty size")?;
            user.hear("24 80")?;
            user.resize(51, 133)?;
            user.say("sleep 0.3; stty size")?;
            user.hear("51 133")?;
            user.say("exit")?;
            same("exit", user.leave()?.code, 0)
        }),
        Story::new("terminal::the_terminal_is_not_left_raw", |stage| {
            let mut user = User::sit_down(stage)?;
            user.say("stty raw -echo; exit 0")?;
            let end = user.leave()?;
            same("settings", end.after, end.before)
        }),
        Story::new("terminal::the_terminal_is_not_left_raw_by_a_signal", |stage| {
            let mut user = User::sit_down(stage)?;
            user.say("trap '' TERM; exec sleep 1000")?;
            user.wait_for(stage, "sleep")?;
            user.signal(stage, "HUP")?;
            let end = user.leave()?;
            same("settings", end.after, end.before)?;
            same("exit", end.code, 128 + 1)
        }),
    ]
}

fn reach() -> Vec<Story> {
    vec![
        Story::new("terminal::the_guests_terminal_is_not_the_persons", |stage| {
            let mut user = User::sit_down(stage)?;
            user.say("tty; readlink /proc/self/fd/0; echo x > /dev/tty && echo o''wn")?;
            user.hear("own")?;
            user.say("ls /dev/pts | wc -l | sed s/^/pts=/; for p in /dev/pts/[0-9]*; do echo $p; done")?;
            user.hear("pts=2")?;
            user.say("exit")?;
            same("exit", user.leave()?.code, 0)
        }),
        Story::new("terminal::nothing_can_be_typed_for_the_person", |stage| {
            // TIOCSTI, 0x5412, on every terminal that there is.
            let text = "perl -e 'for my $f (0,1,2) { open(my $h,\"+<&=$f\"); for my $c (split //, \"touch typed\\n\") \
                { ioctl($h, 0x5412, $c) and print \"TY\".\"PED\" } }'; echo t''ried";
            let mut user = User::sit_down(stage)?;
            user.say(text)?;
            user.hear("tried")?;
            user.say("exit")?;
            let end = user.leave()?;
            must(!end.heard.contains("TYPED"), || format!("{:?}", end.heard))?;
            same("input that waits", end.waiting.as_str(), "")
        }),
        Story::new("terminal::a_terminal_is_not_required_of_the_caller", |stage| {
            let mut program = stage.program(&[
                "{bin}/stockade",
                "run",
                "-q",
                "-t",
                "-w",
                "{ws}",
                "--",
                "/bin/bash",
                "-c",
                "tty >/dev/null && read -r x && echo got $x",
            ]);
            program.input = b"line\n".to_vec();
            let ended = stage.go(&program)?;
            must(ended.code() == 0 && ended.out().ends_with("got line\r\n"), || ended.told())
        }),
    ]
}

fn jobs(stage: &mut Stage) -> Told {
    let mut user = User::sit_down(stage)?;
    // The job says itself that it is in the foreground: what the shell prints before comes too early for Ctrl-Z.
    user.say("bash -c 'kill -STOP $$; echo for''e''ground; exec sleep 1000'")?;
    user.hear("Stopped")?;
    user.say("jobs | sed s/Stopped/li''sted/")?;
    user.hear("listed")?;
    user.say("fg")?;
    user.hear("foreground\r\n")?;
    user.press("\u{1a}")?;
    user.hear("Stopped")?;
    user.say("bg; echo back''ground")?;
    user.hear("background")?;
    user.say("kill %1; wait %1; echo ended''=$?")?;
    user.hear("ended=143")?;
    user.say("exit 5")?;
    same("exit", user.leave()?.code, 5)
}
