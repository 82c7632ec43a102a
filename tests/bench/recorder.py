"""What a recorder costs: real work in a stockade without one and with each, beside the same work outside, plain and
under strace with a filter for the same calls; and one open, one change, one exec at a time.

All sides take turns in one run. Processor time is what the kernel counts for everything that a side started: the
command, and with a stockade its supervisor and its init too. For a share of a busy machine run it under nice(1), not under a
real-time scheduler: there, whoever is woken waits until somebody sleeps, and a recorder is woken all the time. It never compares a run with one of another day, and leaves
a column out, loudly, where the machine has no strace.
"""

import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import time

RECORDED = "runtime/crates/jail/src/seccomp/recorded.rs"
SCOPES = ["off", "changes", "all-opens"]
FILES = 20_000
# How often each single act is done, and how many files it goes round.
ACTS, ROUND = 20_000, 1000
EXECS = 500
# The most that is accepted: processor time of builds, with changes and with all opens; time on the clock; µs an event.
CPU_MOST = {"changes": 1.01, "all-opens": 1.03}
WALL_MOST = 1.05
EVENT_US_MOST = 12
# One act many times, each timed from inside, so that neither a session's start nor its end is in it. It prints the
# median, ns: a mean would be of the disk and of whoever else uses the machine.
ACTOR = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static long *took_ns;
static int order(const void *a, const void *b) { long d = *(const long *)a - *(const long *)b; return d < 0 ? -1 : d > 0; }
static void must(int good, const char *what) { if (!good) { perror(what); exit(1); } }
int main(int argc, char **argv) {
    if (argc < 4) return 0; /* what is executed */
    const char *act = argv[1];
    long times = atol(argv[2]), files = atol(argv[3]);
    char name[64];
    struct timespec a, b;
    if (!strcmp(act, "new")) must(mkdir("new", 0755) == 0, "new");
    must((took_ns = calloc(times, sizeof *took_ns)) != 0, "memory");
    for (long i = 0; i < times; i++) {
        int fd = -1;
        snprintf(name, sizeof name, strcmp(act, "new") ? "acts/%ld" : "new/%ld", strcmp(act, "new") ? i % files : i);
        clock_gettime(CLOCK_MONOTONIC, &a);
        if (!strcmp(act, "write")) must((fd = open(name, O_WRONLY)) >= 0, name);
        else if (!strcmp(act, "read")) must((fd = open(name, O_RDONLY)) >= 0, name);
        else if (!strcmp(act, "chmod")) must(chmod(name, i & 1 ? 0600 : 0644) == 0, name);
        else if (!strcmp(act, "new")) must((fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644)) >= 0, name);
        else {
            pid_t child = vfork();
            if (child == 0) { execl(argv[0], argv[0], (char *)0); _exit(127); }
            int status;
            must(waitpid(child, &status, 0) == child && status == 0, "exec");
        }
        if (fd >= 0) close(fd);
        clock_gettime(CLOCK_MONOTONIC, &b);
        took_ns[i] = (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec;
    }
    qsort(took_ns, times, sizeof *took_ns, order);
    printf("%ld\n", took_ns[times / 2]);
    return 0;
}
"""
CLONED = """set -e
git clone -q --no-hardlinks origin copy
cd copy
i=0
for file in $(git ls-files | head -n 200); do echo changed >>"$file"; done
git add -A
git -c user.name=Bench -c user.email=bench@example.com commit -q -m changed
"""


class Work:
    """What is done: words, in a directory; what of it is in the way of the next turn outside; whose grants it needs."""

    def __init__(self, name, directory, words, made, profile, kind="files", clean=()):
        self.name, self.directory, self.words, self.made, self.profile, self.kind, self.clean = name, directory, words, made, profile, kind, clean


class Recorder:
    """The sides, and where they work."""

    def __init__(self, bench, note, projects):
        self.bench, self.note, self.projects = bench, note, pathlib.Path(projects)
        self.group = Group(bench.root.name)
        self.strace, self.number = strace(), itertools.count()
        self.calls = ",".join(f"?{name}" for name in told_calls(bench.top))
        self.sides = [*SCOPES, "outside"] + (["strace"] if self.strace else [])

    def measure(self, turns):
        """Everything."""
        self.note("processor time is counted by", self.group.name, "")
        for work in self.works():
            self.whole(work, turns)
        self.acts(turns)

    def works(self):
        """The work there is something for."""
        for make in (self.c_build, self.cargo_build, self.npm_ci, self.git_clone, self.tar_x):
            work = make()
            if work is None:
                print(f"{make.__name__}: its project is not in {self.projects}; tests/projects/fetch makes it", flush=True)
            else:
                yield work

    def copy(self, source, name):
        """A copy of a project to work in; none where it was not fetched."""
        if not (self.projects / source).is_dir():
            return None
        where = self.bench.root / name
        shutil.copytree(self.projects / source, where, symlinks=True)
        return where

    def c_build(self):
        """make -j2 of libsodium, configured before."""
        where = self.copy("c/libsodium-stable", "libsodium")
        if where is None:
            return None
        configure = ["./configure", "--quiet", "--disable-dependency-tracking", "--disable-shared"]
        subprocess.run(configure, cwd=where, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return Work("C build", where, ["make", "-s", "-j2"], [], "shell", "build", clean=["make", "-s", "clean"])

    def cargo_build(self):
        """cargo build of walkdir, with its tests."""
        where = self.copy("rust/walkdir", "walkdir-recorded")
        words = ["cargo", "build", "--offline", "--quiet", "--all-targets"]
        return where and Work("cargo build", where, words, ["target"], "rust-dev", "build")

    def npm_ci(self):
        """npm ci of jest, from a cache that is beside it."""
        where = self.copy("npm/jest", "jest")
        words = ["npm", "ci", "--offline", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", "./cache"]
        return where and Work("npm ci", where, words, ["node_modules", "cache/_logs"], "node-dev")

    def git_clone(self):
        """A clone that copies, and a commit of 200 changed files."""
        where = self.copy("c/libsodium-stable", "cloned/origin")
        if where is None:
            return None
        shutil.copytree(self.projects / "rust/walkdir", where / "walkdir", dirs_exist_ok=True)
        git = ["git", "-c", "user.name=Bench", "-c", "user.email=bench@example.com"]
        for words in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "all"]):
            subprocess.run([*git, *words], cwd=where, check=True)
        return Work("git clone, commit", where.parent, ["sh", "-c", CLONED], ["copy"], "git")

    def tar_x(self):
        """20,000 small files out of an archive."""
        where = self.bench.root / "archived"
        for number in range(FILES):
            path = where / "in" / f"{number % 200}" / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"%d\n" % number * 100)
        subprocess.run(["tar", "cf", "files.tar", "in"], cwd=where, check=True)
        shutil.rmtree(where / "in")
        return Work(f"tar x, {FILES:,} files", where, ["tar", "xf", "files.tar"], ["in"], "shell")

    def profile(self, extends, scope):
        """A profile that asks for this much recording, of the best grade."""
        path = self.bench.root / f"{extends}-{scope}.toml"
        floor = "outcome-only" if scope == "off" else "performed"
        path.write_text(
            f'profile = 1\nname = "bench-{scope}"\nextends = ["{extends}"]\nrecord = "{scope}"\nrecord_floor = "{floor}"\n',
            encoding="utf-8",
        )
        return path

    def once(self, side, work):
        """Does the work on one side and makes room for the next turn: seconds of processors, on the clock, records, what was printed."""
        if side in SCOPES:
            report = self.bench.root / "report.json"
            words = self.bench.run(*work.words, profile=str(self.profile(work.profile, side)), workspace=work.directory)
            words[2:2] = ["--report", str(report)]
        else:
            traced = [self.strace, "-f", "--seccomp-bpf", "-e", f"trace={self.calls}", "-o", str(self.bench.root / "trace")]
            words = [*(traced if side == "strace" else []), *work.words]
        cpu_s, wall_s, printed = self.group.account(words, work.directory, self.bench.env)
        records = 0
        if side in SCOPES:
            log = pathlib.Path(json.loads(report.read_text(encoding="utf-8"))["log"])
            records = int((log / "checkpoint").read_text(encoding="utf-8").split("\n")[1])
        else:
            self.set_aside(work)
        return cpu_s, wall_s, records, printed

    def set_aside(self, work):
        """Makes room for the next turn outside.

        Nothing that was made is deleted before the end, on any side: ext4 does not give away an inode that was just freed, and
        looks at each of them for every file that is made in the next minutes.
        """
        aside = self.bench.root / "aside" / str(next(self.number))
        aside.mkdir(parents=True)
        for name in work.made:
            path = work.directory / name
            if path.exists():
                path.rename(aside / path.name)
        if work.clean:
            subprocess.run(work.clean, cwd=work.directory, check=True, stdout=subprocess.DEVNULL)

    def in_turns(self, work, turns):
        """What each side took, in turns; the first is thrown away, and sides change places."""
        found = {side: [] for side in self.sides}
        for turn in range(turns + 1):
            first = turn % len(self.sides)
            for side in self.sides[first:] + self.sides[:first]:
                took = self.once(side, work)
                if turn > 0:
                    found[side].append(took)
        return found

    def whole(self, work, turns):
        """A whole piece of work, on every side."""
        found = self.in_turns(work, turns)
        middle = {side: [statistics.median(values) for values in list(zip(*took))[:3]] for side, took in found.items()}
        for side, (cpu_s, wall_s, records) in middle.items():
            name = f"{work.name}: {side if side not in SCOPES else f'inside, record = {side}'}"
            self.note(f"{name}, CPU", cpu_s, "s")
            self.note(f"{name}, wall", wall_s, "s")
            if side in SCOPES:
                self.note(f"{name}, records", int(records), "")
        off_cpu_s, off_wall_s, off_records = middle["off"]
        for scope, most in CPU_MOST.items():
            cpu_s, wall_s, records = middle[scope]
            self.bound(f"{work.name}: {scope} / off, CPU", cpu_s / off_cpu_s, "x", most if work.kind == "build" else None)
            self.bound(f"{work.name}: {scope} / off, wall", wall_s / off_wall_s, "x", WALL_MOST)
            if records > off_records:
                each_us = (cpu_s - off_cpu_s) / (records - off_records) * 1e6
                self.bound(f"{work.name}: {scope}, CPU for each record more", each_us, "us", None)
        if "strace" in middle:
            for index, what in enumerate(["CPU", "wall"]):
                self.bound(f"{work.name}: strace / outside, {what}", middle["strace"][index] / middle["outside"][index], "x", None)

    def bound(self, name, value, unit, most):
        """One number against the most that it may be."""
        self.note(name, value, unit, f"<= {most}" if most else "", value <= most if most else None)

    def acts(self, turns):
        """One act at a time, on every side: what the recorder adds to each."""
        where = self.bench.root / "acting"
        (where / "acts").mkdir(parents=True)
        for number in range(ROUND):
            (where / "acts" / str(number)).touch()
        (where / "actor.c").write_text(ACTOR, encoding="utf-8")
        subprocess.run(["cc", "-O2", "-static", "-o", "actor", "actor.c"], cwd=where, check=True)
        # What is done, its name, how often, whose events these are.
        for act, name, times, scopes in [
            ("write", "open to write, existing", ACTS, ["changes", "all-opens"]),
            ("new", "open to write, new", ACTS, ["changes", "all-opens"]),
            ("chmod", "chmod", ACTS, ["changes", "all-opens"]),
            ("read", "open to read", ACTS, ["changes", "all-opens"]),
            ("exec", "fork, exec, exit", EXECS, ["changes", "all-opens"]),
        ]:
            words = ["./actor", act, str(times), str(ROUND)]
            found = self.in_turns(Work(name, where, words, ["new"], "shell"), turns)
            each_us = {side: statistics.median(int(took[3]) for took in found[side]) / 1e3 for side in found}
            cpu_us = {side: statistics.median(took[0] for took in found[side]) / times * 1e6 for side in found}
            for side in self.sides:
                self.note(f"{name}: {side}", each_us[side], "us")
            for scope in scopes:
                one_event = act != "exec" and (act, scope) != ("read", "changes")
                self.bound(f"{name}: {scope} adds, wall", each_us[scope] - each_us["off"], "us", EVENT_US_MOST if one_event else None)
                self.bound(f"{name}: {scope} adds, CPU, log included", cpu_us[scope] - cpu_us["off"], "us", None)
            if "strace" in each_us:
                self.note(f"{name}: strace adds, wall", each_us["strace"] - each_us["outside"], "us")


class Group:
    """Processor time of all that a command starts: of a control group made for it, or what its ancestors waited for.

    A control group counts everything in it, whoever waits for whom, and keeps what removed groups below it used. Where the
    kernel has version 1 and 2 side by side, version 2 counts without a controller. Where none can be made, getrusage(2)
    has what every ancestor waited for, which a process that nobody waits for is missing from.
    """

    def __init__(self, name):
        self.directory = None
        for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            directory = pathlib.Path(mount, name)
            if (directory.parent / "cgroup.controllers").exists():
                try:
                    directory.mkdir()
                except OSError:
                    continue
                self.directory = directory
        self.name = "a control group (version 2)" if self.directory else "getrusage(2) of waited-for children"

    def account(self, words, cwd, env):
        """Runs a command that must succeed: seconds of processors, seconds on the clock, and what it printed."""
        enter = (lambda: (self.directory / "cgroup.procs").write_text("0", encoding="ascii")) if self.directory else None
        before_s, begun = self.used_s(), time.perf_counter()
        ended = subprocess.run(
            words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=enter, check=False
        )
        wall_s = time.perf_counter() - begun
        self.settle()
        cpu_s = self.used_s() - before_s
        if ended.returncode != 0:
            raise SystemExit(f"{words} ended with {ended.returncode}:\n{ended.stderr.decode(errors='replace')}")
        return cpu_s, wall_s, ended.stdout

    def used_s(self):
        """Seconds so far."""
        if self.directory is None:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            return used.ru_utime + used.ru_stime
        stat = (self.directory / "cpu.stat").read_text(encoding="ascii")
        return int(re.search(r"^usage_usec (\d+)$", stat, re.MULTILINE)[1]) / 1e6

    def settle(self):
        """Waits until nothing of the command is left: what ends late is counted too."""
        deadline = time.monotonic() + 10
        while self.directory and "populated 1" in (self.directory / "cgroup.events").read_text(encoding="ascii"):
            if time.monotonic() > deadline:
                raise SystemExit("a command left processes behind")
            time.sleep(0.005)

    def close(self):
        """Removes the group."""
        if self.directory:
            self.directory.rmdir()


def told_calls(top):
    """Names of the calls of which the recorder is told, as its table has them."""
    text = (pathlib.Path(top) / RECORDED).read_text(encoding="utf-8")
    table = text[text.index("const TOLD:") : text.index("/// The table with the recorder in it.")]
    found = sorted({name.lower() for name in re.findall(r"\bSYS_(\w+)", table)})
    assert {"openat", "execve", "unlinkat", "ptrace"} <= set(found), found
    return found


def strace():
    """Where strace is, installed from Debian if need and may be."""
    if shutil.which("strace") is None and os.getuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "strace"], check=False, stdout=subprocess.DEVNULL)
    found = shutil.which("strace")
    if found is None:
        print("!! strace: not installed, and its column is left out; as root: apt-get install strace", flush=True)
    return found
