//! Real work, recorded and not: repositories, archives, parallel builds, installers behave the same.
//! It never compares times or inodes, which differ between any two runs.

use crate::account::{Record, run};
use stockade_tests::process::found_in;
use stockade_tests::stage::{PATH, Stage};
use stockade_tests::story::{Stop, Story, Told, must, same};

/// Work, the programs that it needs, and a shell script that does it in an empty directory and says what came out.
struct Work {
    name: &'static str,
    needs: &'static [&'static str],
    script: &'static str,
}

const WORK: &[Work] = &[
    Work {
        name: "a_repository_is_made_cloned_committed_to_and_merged",
        needs: &["git"],
        script: "export GIT_AUTHOR_DATE='2024-01-01T00:00:00Z' GIT_COMMITTER_DATE='2024-01-01T00:00:00Z'; \
            export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com; \
            git init -q -b main made; cd made; for n in $(seq 60); do echo $n > f$n; done; git add -A; git commit -qm one; \
            cd ..; git clone -q made cloned; cd cloned; git checkout -qb side; echo x >> f1; git commit -qam two; \
            git checkout -q main; echo y >> f2; git commit -qam three; git merge -q -m four side; git gc -q; git fsck --strict; \
            git push -q origin main:other; git log --format='%H %s'; git status --porcelain; git -C ../made branch",
    },
    Work {
        name: "an_archive_is_packed_and_unpacked",
        needs: &["tar", "gzip"],
        script: "umask 027; mkdir tree; cd tree; for n in $(seq 40); do mkdir d$n; for m in 1 2 3 4 5 6 7 8 9; do \
            echo $n $m > d$n/f$m; done; ln -s f1 d$n/l; ln d$n/f2 d$n/h; chmod 4750 d$n/f3; done; mkfifo pipe; cd ..; \
            tar --sort=name --mtime=@0 -czf a.tgz tree; mkdir out; tar -xzpf a.tgz -C out; sha256sum a.tgz; diff -r tree out/tree; \
            find out -printf '%p %y %m %s %n %l\\n' | sort",
    },
    Work {
        name: "a_parallel_build_and_its_tests",
        needs: &["gcc", "make"],
        script: "for n in $(seq 24); do printf 'int f%d(void) { return %d; }\\n' $n $n > f$n.c; \
            printf '#include <assert.h>\\nint f%d(void);\\nint main(void) { assert(f%d() == %d); return 0; }\\n' $n $n $n > t$n.c; done; \
            printf 'N := $(shell seq 24)\\nall: $(N:%%=ok%%)\\nok%%: t%%\\n\\t./t$* && touch $@\\nt%%: t%%.o f%%.o\\n\\t$(CC) -o $@ $^\\n.SECONDARY:\\n' \
            > Makefile; make -s -j8 && ls | sort && sha256sum *.o t? | sort",
    },
    Work {
        name: "a_python_package_is_installed",
        needs: &["python3"],
        script: "python3 -m pip --version > v 2>&1 || { echo no pip; exit 0; }; rm v; python3 - <<'END'\n\
            import zipfile\n\
            with zipfile.ZipFile('thing-1.0-py3-none-any.whl', 'w') as wheel:\n\
            \x20   wheel.writestr('thing/__init__.py', 'word = 42\\n')\n\
            \x20   wheel.writestr('thing-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: thing\\nVersion: 1.0\\n')\n\
            \x20   wheel.writestr('thing-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
            \x20   wheel.writestr('thing-1.0.dist-info/RECORD', '')\n\
            END\n\
            python3 -m pip install -q --no-index --target site ./thing-1.0-py3-none-any.whl 2>&1 | grep -v -i notice; \
            PYTHONPATH=site python3 -c 'import thing; print(thing.word)'; find site -type f ! -name '*.pyc' | sort",
    },
    Work {
        name: "a_node_package_is_installed_cleanly",
        needs: &["npm"],
        script: "export npm_config_cache=$PWD/cache npm_config_update_notifier=false; mkdir thing app; \
            echo '{\"name\":\"thing\",\"version\":\"1.0.0\",\"bin\":{\"thing\":\"run.js\"}}' > thing/package.json; \
            printf '#!/usr/bin/env node\\nconsole.log(42)\\n' > thing/run.js; (cd thing && npm pack --silent --pack-destination ..); \
            cd app; echo '{\"name\":\"app\",\"version\":\"1.0.0\",\"dependencies\":{\"thing\":\"file:../thing-1.0.0.tgz\"}}' > package.json; \
            npm install --silent --offline --no-audit --no-fund; rm -rf node_modules; npm ci --silent --offline --no-audit --no-fund; \
            ./node_modules/.bin/thing; find node_modules -printf '%p %y %m %l\\n' | sort",
    },
];

pub(crate) fn stories() -> Vec<Story> {
    WORK.iter()
        .map(|work| Story::new(format!("work::{}_as_without_a_recorder", work.name), move |stage| compare(stage, work)))
        .collect()
}

fn compare(stage: &mut Stage, work: &Work) -> Told {
    for program in work.needs {
        if found_in(PATH, program).is_none() {
            return Err(Stop::Skip(format!("there is no {program}")));
        }
    }
    // Each time in a directory of its own: what a session protects in the workspace, the next one cannot remove.
    let run = |record: Record| {
        let directory = format!("work-{record:?}");
        let script = format!("mkdir {directory}; cd {directory}; {}", work.script);
        run(stage, record, "direct", "", &["/bin/sh", "-c", &script]).map(|account| account.ended)
    };
    let plain = run(Record::Off)?;
    must(plain.code() == 0 && !plain.out.is_empty(), || plain.told())?;
    for record in [Record::Changes, Record::AllOpens] {
        let recorded = run(record)?;
        same("exit code", recorded.code(), plain.code())?;
        must(recorded.out() == plain.out(), || format!("{}\n--- without\n{}", recorded.told(), plain.told()))?;
    }
    Ok(())
}
