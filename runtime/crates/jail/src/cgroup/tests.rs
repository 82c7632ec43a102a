//! Where a group of version 2 may be made, on directories that look like control groups: every machine has one kind of
//! them only.

use super::*;
use std::fs;

/// A tree of groups, each with the controllers it has, those it hands down, and its processes.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("jail-cgroup-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn group(self, name: &str, controllers: &str, handed_down: &str, processes: &str) -> Self {
        let group = self.0.join(name);
        fs::create_dir_all(&group).unwrap();
        let files = [
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", handed_down),
            ("cgroup.procs", processes),
            ("cgroup.type", "domain\n"),
        ];
        for (file, text) in files {
            fs::write(group.join(file), text).unwrap();
        }
        self
    }

    #[track_caller]
    fn check(&self, own: &str, expected: Result<&str, &str>) {
        let place = Place { directory: self.0.join(own), mount: self.0.clone() };
        let own = Own { unified: Some(place), ..Own::default() };
        let found = delegated(&own, Enable::No);
        assert_eq!(found, expected.map(|name| self.0.join(name)).map_err(str::to_owned));
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const ALL: &str = "cpu memory pids\n";

#[test]
fn the_nearest_group_that_hands_memory_and_pids_down_is_taken() {
    let tree = Tree::new("nearest").group("user", ALL, ALL, "").group("user/app", ALL, "", "1\n2\n");
    tree.check("user/app", Ok("user"));
    tree.check("user", Ok("user"));
}

#[test]
fn a_group_of_our_own_is_divided_only_when_we_are_alone_in_it() {
    let us = format!("{}\n", std::process::id());
    Tree::new("alone").group("scope", ALL, "", &us).check("scope", Ok("scope"));
    let refusal = "the group has other processes in it, so it cannot be divided";
    Tree::new("others").group("scope", ALL, "", &format!("1\n{us}")).check("scope", Err(refusal));
}

#[test]
fn without_memory_and_pids_there_is_no_place() {
    let why = "memory and pids are not delegated";
    Tree::new("half").group("scope", "cpu pids\n", "", "").check("scope", Err(why));
    Tree::new("none").group("scope", "", "", "").check("scope", Err(why));
}

#[test]
fn a_hierarchy_that_is_not_mounted_is_no_place() {
    assert_eq!(delegated(&Own::default(), Enable::No), Err("not mounted".to_owned()));
}
