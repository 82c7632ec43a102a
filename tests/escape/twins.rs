//! The harmless twins: what people do all day must work inside as it does outside.
//! It never needs the network, nor a program that is not there: such a twin is skipped and said to be.

use stockade_tests::process::found_in;
use stockade_tests::stage::{PATH, Stage};
use stockade_tests::story::{Stop, Story, Told, must};
use stockade_tests::wall::is_container;

/// One thing that must work: name, profile, the programs it needs, a script that ends by printing `works`.
struct Twin {
    name: &'static str,
    profile: &'static str,
    needs: &'static [&'static str],
    script: &'static str,
}

const fn twin(name: &'static str, profile: &'static str, needs: &'static [&'static str], script: &'static str) -> Twin {
    Twin { name, profile, needs, script }
}

const TWINS: &[Twin] = &[
    twin("pipes", "shell", &[], "seq 1000 | sort -rn | head -1 | grep -qx 1000"),
    twin("a_here_document", "shell", &[], "[ \"$(cat <<END\nx\nEND\n)\" = x ]"),
    twin("process_substitution", "shell", &[], "diff <(echo a) <(echo a)"),
    twin(
        "redirection_to_dev_stdout",
        "shell",
        &[],
        "[ \"$(echo x > /dev/stdout)\" = x ] && echo y > /dev/stderr && echo z >/dev/null",
    ),
    twin("dev_fd", "shell", &[], "[ \"$(echo x | cat /dev/fd/0)\" = x ]"),
    twin("dev_stdin", "shell", &[], "[ \"$(echo x | cat /dev/stdin)\" = x ]"),
    twin(
        "job_control",
        "shell",
        &[],
        "set -m; sleep 2 & jobs | grep -q Running; kill -STOP %1; sleep 0.1; jobs | grep -q Stopped; kill -CONT %1; fg %1 >/dev/null",
    ),
    twin("traps_and_signals", "shell", &[], "trap 'got=1' USR1; kill -USR1 $$; [ \"$got\" = 1 ]"),
    twin("background_and_wait", "shell", &[], "(exit 3) & wait $!; [ $? = 3 ]"),
    twin("temporary_files", "shell", &[], "f=$(mktemp) && echo x > $f && [ -s $f ] && d=$(mktemp -d) && rmdir $d"),
    twin("a_fifo", "shell", &[], "mkfifo p && (echo x > p &) && [ \"$(cat p)\" = x ]"),
    twin("links", "shell", &[], "echo x > a && ln a b && ln -s a c && [ \"$(cat b c | wc -l)\" = 2 ]"),
    twin(
        "find_sed_awk",
        "shell",
        &["find", "sed", "awk"],
        "mkdir -p a/b && echo 1 2 > a/b/f && find . -name f -exec sed -i s/1/3/ {} + && [ \"$(awk '{print $1+$2}' a/b/f)\" = 5 ]",
    ),
    twin(
        "tar_with_modes",
        "shell",
        &["tar"],
        "mkdir d && echo x > d/f && chmod 640 d/f && tar czf t.tgz d && rm -r d && tar xzf t.tgz && [ $(stat -c %a d/f) = 640 ]",
    ),
    twin("ps", "shell", &["ps"], "ps -ef | grep -q bash"),
    twin("top", "shell", &["top"], "TERM=dumb top -b -n1 | grep -q Tasks"),
    twin("large_pipes", "shell", &[], "[ $(head -c 50000000 /dev/zero | tail -c 1000 | wc -c) = 1000 ]"),
    twin(
        "the_own_process",
        "shell",
        &[],
        "[ -r /proc/self/status ] && [ \"$(readlink /proc/self/cwd)\" = \"$PWD\" ] && grep -q MemTotal /proc/meminfo && nproc",
    ),
    twin(
        "names_of_users",
        "shell",
        &[],
        "[ -n \"$(id -un)\" ] && [ -n \"$(id -gn)\" ] && [ \"$(stat -c %U .)\" = \"$(id -un)\" ] && [ -w \"$HOME\" ]",
    ),
    twin("unicode_and_odd_names", "shell", &[], "touch 'ä ö' $'a\\nb' -- '-x' && [ $(ls -A | wc -l) -ge 3 ]"),
    twin(
        "a_loopback_address",
        "shell",
        &[],
        "grep -q localhost /etc/hosts && [ \"$(hostname)\" = \"$(cat /proc/sys/kernel/hostname)\" ]",
    ),
    twin("xargs_in_parallel", "shell", &["xargs"], "[ $(seq 20 | xargs -P 4 -n 1 echo | wc -l) = 20 ]"),
    twin("flock", "shell", &["flock"], "flock l -c 'flock -n l -c true && exit 1; exit 0'"),
    twin(
        "sparse_and_allocated_files",
        "shell",
        &["fallocate"],
        "truncate -s 100M s && fallocate -l 1M f && [ $(stat -c %s f) = 1048576 ]",
    ),
    twin("nice_and_timeout", "shell", &["timeout"], "timeout 0.1 sleep 5; [ $? = 124 ] && nice true"),
    twin(
        "git",
        "git",
        &["git"],
        "export GIT_CONFIG_GLOBAL=/dev/null; git init -q r && cd r && git config user.email a@b && git config user.name n && echo x > f && git add f && git commit -qm m && cd .. && git clone -q r c && git -C c log --oneline | grep -q m && git -C c checkout -qb branch && git -C r gc -q && git -C r worktree add -q ../w && git -C r status --short",
    ),
    twin(
        "gcc",
        "shell",
        &["gcc"],
        "printf '#include <stdio.h>\\nint main(void){puts(\"hello\");}' > h.c && gcc -O2 -o h h.c && [ \"$(./h)\" = hello ]",
    ),
    twin(
        "make_in_parallel",
        "shell",
        &["make"],
        "printf 'all: a b c d\\na b c d:\\n\\t@sleep 0.1; touch $@\\n' > Makefile && make -s -j4 && [ -e d ]",
    ),
    twin("perl", "shell", &["perl"], "perl -e 'open my $p, q(-|), q(echo x) or die; print <$p>' | grep -qx x"),
    twin(
        "python_threads_and_loop",
        "python-dev",
        &["python3"],
        "python3 -c \"\nimport asyncio,threading\nl=asyncio.new_event_loop(); threading.Thread(target=l.run_forever,daemon=True).start()\nasync def f(): return 41\nassert asyncio.run_coroutine_threadsafe(f(),l).result(5)==41\n\"",
    ),
    twin(
        "python_processes",
        "python-dev",
        &["python3"],
        "printf 'import multiprocessing as m\\ndef f(x): return x*x\\nif __name__==\"__main__\":\\n  for w in (\"fork\",\"spawn\"):\\n    with m.get_context(w).Pool(2) as p: assert p.map(f,[1,2,3])==[1,4,9]\\n  q=m.Queue(); s=m.Semaphore(1); s.acquire(); s.release()\\n' > m.py && python3 m.py",
    ),
    twin(
        "python_fork_server",
        "python-dev",
        &["python3"],
        "printf 'import multiprocessing as m\\ndef f(x): return x*x\\nif __name__==\"__main__\":\\n  with m.get_context(\"forkserver\").Pool(2) as p: assert p.map(f,[1,2,3])==[1,4,9]\\n' > m.py && python3 m.py",
    ),
    twin(
        "python_shared_memory",
        "python-dev",
        &["python3"],
        "python3 -c \"\nfrom multiprocessing import shared_memory as s\nm=s.SharedMemory(create=True,size=100); m.buf[0]=7; assert s.SharedMemory(m.name).buf[0]==7; m.close(); m.unlink()\n\"",
    ),
    twin(
        "python_subprocess",
        "python-dev",
        &["python3"],
        "python3 -c \"import subprocess as s; assert s.run(['cat'],input=b'x',capture_output=True).stdout==b'x'\"",
    ),
    twin(
        "python_socket_pairs",
        "python-dev",
        &["python3"],
        "python3 -c \"\nimport socket,os,array\nfor k in (socket.SOCK_STREAM,socket.SOCK_SEQPACKET):\n  a,b=socket.socketpair(socket.AF_UNIX,k); a.send(b'x'); assert b.recv(1)==b'x'\na,b=socket.socketpair(); r,w=os.pipe(); socket.send_fds(a,[b'x'],[r]); assert len(socket.recv_fds(b,1,1)[1])==1\n\"",
    ),
    twin(
        "python_datagram_pairs",
        "python-dev",
        &["python3"],
        "python3 -c \"\nimport socket\na,b=socket.socketpair(socket.AF_UNIX,socket.SOCK_DGRAM); a.send(b'x'); assert b.recv(1)==b'x'\n\"",
    ),
    twin(
        "python_sockets_by_path",
        "python-dev",
        &["python3"],
        "python3 -c \"\nimport socket\nfor n in ('s','\\0own'):\n  l=socket.socket(socket.AF_UNIX); l.bind(n); l.listen(); c=socket.socket(socket.AF_UNIX); c.connect(n); assert l.accept()\n\"",
    ),
    twin(
        "python_web_server",
        "python-dev",
        &["python3"],
        "python3 -c \"\nimport http.server,threading,urllib.request\nfor fam,host in ((2,'127.0.0.1'),(10,'::1')):\n  class S(http.server.ThreadingHTTPServer): address_family=fam\n  s=S((host,0),http.server.SimpleHTTPRequestHandler); threading.Thread(target=s.serve_forever,daemon=True).start()\n  h='[::1]' if fam==10 else host\n  assert urllib.request.urlopen('http://%s:%d/'%(h,s.server_address[1]),timeout=5).status==200\n\" 2>/dev/null",
    ),
    twin(
        "python_temporary_files",
        "python-dev",
        &["python3"],
        "python3 -c \"\nimport tempfile,os,mmap\nwith tempfile.TemporaryFile() as f: f.write(b'x'*8192); f.flush(); mmap.mmap(f.fileno(),0)[0]\nwith tempfile.NamedTemporaryFile(dir='.') as f: os.fsync(f.fileno())\n\"",
    ),
    twin(
        "python_sqlite",
        "python-dev",
        &["python3"],
        "python3 -c \"\nimport sqlite3\nd=sqlite3.connect('x.db'); d.execute('pragma journal_mode=wal'); d.execute('create table t(a)'); d.execute('insert into t values(1)'); d.commit(); assert d.execute('select count(*) from t').fetchone()==(1,)\n\"",
    ),
    twin(
        "python_environment",
        "python-dev",
        &["python3"],
        "python3 -m venv --without-pip v && v/bin/python -c 'import sys; assert sys.prefix.endswith(\"v\")'",
    ),
    twin(
        "python_local_package",
        "python-dev",
        &["python3"],
        "python3 -m venv --system-site-packages v && mkdir -p p/pk && echo 'x=5' > p/pk/__init__.py && printf 'from setuptools import setup\\nsetup(name=\"pk\",version=\"1\",packages=[\"pk\"])\\n' > p/setup.py && (cd p && ../v/bin/python -c 'import setuptools' 2>/dev/null || exit 77) && v/bin/python -m pip install -q --no-index --no-build-isolation --disable-pip-version-check ./p && v/bin/python -c 'import pk; assert pk.x==5'",
    ),
    twin(
        "node_child_processes",
        "node-dev",
        &["node"],
        "node -e \"const c=require('child_process'); const r=c.execSync('echo x').toString(); if(r!=='x\\n') process.exit(1); c.fork('-e',['process.exit(0)'],{execArgv:[]}).on('error',()=>process.exit(1)); c.spawn('cat',{stdio:['ipc','pipe','inherit']}).kill()\"",
    ),
    twin(
        "node_web_server",
        "node-dev",
        &["node"],
        "node -e \"const h=require('http'); const s=h.createServer((q,r)=>r.end('x')).listen(0,'127.0.0.1',()=>h.get({port:s.address().port,host:'127.0.0.1'},r=>{s.close(); r.resume(); process.exitCode=r.statusCode===200?0:1}))\"",
    ),
    twin(
        "node_workers",
        "node-dev",
        &["node"],
        "node -e \"const {Worker}=require('worker_threads'); new Worker('require(\\\"worker_threads\\\").parentPort.postMessage(5)',{eval:true}).on('message',m=>process.exit(m===5?0:1))\"",
    ),
    twin(
        "node_watching_files",
        "node-dev",
        &["node"],
        "node -e \"const fs=require('fs'); const w=fs.watch('.',()=>{w.close();process.exit(0)}); setTimeout(()=>fs.writeFileSync('n','x'),50); setTimeout(()=>process.exit(1),3000)\"",
    ),
    twin(
        "npm_script",
        "node-dev",
        &["npm"],
        "echo '{\"name\":\"p\",\"version\":\"1.0.0\",\"scripts\":{\"t\":\"node -e 1\"}}' > package.json && npm run --silent t",
    ),
    twin(
        "cargo_build",
        "rust-dev",
        &["cargo"],
        "cargo new -q --vcs none c && cd c && cargo build -q --offline && cargo test -q --offline && ./target/debug/c | grep -q Hello || ls target/*/debug/c",
    ),
];

/// What works in review and not in a workspace that is used directly: unix sockets by path, and what is made of them.
/// A service of the host's may put a socket into such a workspace at any time, and before Landlock level 9 no rule can
/// tell it from the guest's own; so there is none (`Sockets::Internet`).
const NOT_IN_PLACE: [&str; 3] = ["python_fork_server", "python_datagram_pairs", "python_sockets_by_path"];

/// Programs that the image of the third wall lacks (`tests/containers/tools-image`): they would make it several times as large.
const NOT_IN_THE_IMAGE: [&str; 2] = ["npm", "cargo"];

pub(crate) fn stories() -> Vec<Story> {
    let twins = TWINS.iter().flat_map(|twin| {
        let modes = [("review", ""), ("direct", "_in_place")];
        let wanted = modes.into_iter().filter(|(mode, _)| *mode != "direct" || !NOT_IN_PLACE.contains(&twin.name));
        wanted.map(move |(mode, suffix)| {
            Story::new(format!("twins::{}{suffix}_works", twin.name), move |stage| works(stage, twin, mode))
        })
    });
    let others = [
        Story::new("twins::exit_codes_are_passed_through", exit_codes),
        Story::new("twins::streams_are_passed_through", streams),
        Story::new("twins::a_terminal_is_a_terminal", terminal),
        Story::new("twins::every_built_in_profile_runs_a_command", built_in),
        Story::new("twins::a_workspace_in_a_place_made_anew_works", workspace_in_tmp),
    ];
    twins.chain(others).collect()
}

/// The environment of a person at work: their own home, so that tools installed there are found.
fn at_work(stage: &mut Stage) -> String {
    use stockade_tests::binaries::variable;
    let home = variable("HOME").filter(|_| stage.scene.person().switch().is_none());
    let home = home.map_or_else(|| stage.scene.fill("{home}"), |home| home.to_string_lossy().into_owned());
    let path = format!("{home}/.cargo/bin:{home}/.pyenv/shims:{PATH}");
    for (name, value) in [("HOME", home.as_str()), ("PATH", path.as_str())] {
        stage.environment.push((name.into(), value.into()));
    }
    path
}

fn works(stage: &mut Stage, twin: &Twin, mode: &str) -> Told {
    if let Some(missing) = twin.needs.iter().find(|program| is_container() && NOT_IN_THE_IMAGE.contains(program)) {
        return Err(Stop::Skip(format!("the image has no {missing}, and a host's programs are not in a container")));
    }
    let path = at_work(stage);
    if let Some(missing) = twin.needs.iter().find(|program| found_in(&path, program).is_none()) {
        return Err(Stop::Skip(format!("no {missing} here for this person")));
    }
    let script = format!("set -e; mkdir t; cd t; {}; echo works", twin.script.replace("; [ $? =", " || true; [ $? ="));
    let script =
        if twin.script.contains("$? =") { format!("mkdir t; cd t; {} && echo works", twin.script) } else { script };
    let control = stage.plain(&["/bin/bash", "-c", &script])?;
    if !control.out().lines().any(|line| line == "works") {
        return Err(Stop::Skip(format!("does not work unconfined either: {}", control.told().replace('\n', " | "))));
    }
    std::fs::remove_dir_all(stage.scene.path("{ws}/t"))?;
    let ended = stage.run(&["--profile", twin.profile, "--mode", mode], &["/bin/bash", "-c", &script])?;
    must(ended.code() == 0 && ended.out().lines().any(|line| line == "works"), || {
        format!("does not work inside\n{}", ended.told())
    })?;
    let verified = stage.stockade(&["verify", "last"])?;
    must(verified.code() == 0, || format!("its log does not verify\n{}", verified.told()))
}

fn exit_codes(stage: &mut Stage) -> Told {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 77", 77),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
    ] {
        let ended = stage.run(&["--profile", "shell"], &["/bin/bash", "-c", script])?;
        must(ended.code() == code, || format!("{script}: not {code}\n{}", ended.told()))?;
    }
    let absent = stage.run(&["--profile", "shell"], &["certainly-absent"])?;
    must(absent.code() == 127, || format!("an absent command: not 127\n{}", absent.told()))?;
    stage.scene.file("{ws}/not-executable", "x")?;
    let not = stage.run(&["--profile", "shell"], &["./not-executable"])?;
    must(not.code() == 126, || format!("not executable: not 126\n{}", not.told()))
}

fn streams(stage: &mut Stage) -> Told {
    let script = "for i in $(seq 2000); do echo out$i; echo err$i >&2; done; printf 'no newline'";
    let ended = stage.run(&["--profile", "shell", "--quiet"], &["/bin/bash", "-c", script])?;
    let expected: String = (1..=2000).map(|i| format!("out{i}\n")).collect();
    must(ended.out() == format!("{expected}no newline"), || format!("standard output differs\n{}", ended.told()))?;
    let expected: String = (1..=2000).map(|i| format!("err{i}\n")).collect();
    must(ended.err() == expected, || format!("standard error differs\n{}", ended.told()))?;
    let bytes = stage
        .run(&["--profile", "shell"], &["/bin/bash", "-c", "head -c 3000000 /dev/urandom | tee f; sha256sum f >&2"])?;
    must(bytes.out.len() == 3_000_000, || format!("{} bytes of 3000000 came out", bytes.out.len()))
}

fn terminal(stage: &mut Stage) -> Told {
    let script = "test -t 0 && test -t 1 && test -t 2 && tty && stty size && echo works";
    let ended = stage.run(&["--profile", "shell", "--tty"], &["/bin/bash", "-c", script])?;
    must(ended.code() == 0 && ended.out().contains("works"), || format!("no terminal\n{}", ended.told()))
}

fn built_in(stage: &mut Stage) -> Told {
    for profile in ["base", "shell", "rust-dev", "node-dev", "python-dev", "git", "review-only", "ci", "locked"] {
        let ended = stage.run(&["--profile", profile], &["/bin/sh", "-c", "echo works"])?;
        must(ended.out().contains("works"), || format!("{profile}: nothing can be run\n{}", ended.told()))?;
    }
    Ok(())
}

/// Below `/tmp`, which is private inside, and `/var/tmp`, which is a link there.
fn workspace_in_tmp(stage: &mut Stage) -> Told {
    for place in ["/tmp/{canary}", "/var/tmp/{canary}"] {
        stage.scene.folder(place)?;
        stage.scene.file(&format!("{place}/file"), "before")?;
        let script = "[ \"$(cat file)\" = before ] && echo after > file && echo works";
        let ended = stage.stockade(&[
            "run",
            "--profile",
            "shell",
            "--mode",
            "direct",
            "--workspace",
            place,
            "--",
            "/bin/bash",
            "-c",
            script,
        ]);
        let after = std::fs::read_to_string(stage.scene.path(&format!("{place}/file")));
        std::fs::remove_dir_all(stage.scene.path(place))?;
        let ended = ended?;
        must(ended.out().contains("works") && after? == "after\n", || format!("{place}\n{}", ended.told()))?;
    }
    Ok(())
}
