//! `keel profile` on a store that Nix filled, judged by Nix's own tools.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod nix_store;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix_store::{NixStore, fails, run, text};

/// A store, and a profile outside its own directory of profiles.
struct Fixture {
    store: NixStore,
    profile: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let store = NixStore::new();
        let profile = store.path("home/tools");
        Self { store, profile }
    }

    fn profile(&self) -> &str {
        self.profile.to_str().unwrap()
    }

    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["profile"], arguments, &["--profile", self.profile()]].concat()
    }

    fn keel(&self, arguments: &[&str]) -> Command {
        self.store.keel(&self.with(arguments))
    }

    fn say(&self, arguments: &[&str]) -> String {
        self.store.say(&self.with(arguments))
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        self.store.json(&self.with(arguments))
    }

    /// The name of the generation's link that the profile leads to.
    fn current(&self) -> Option<String> {
        let target = fs::read_link(&self.profile).ok()?;
        Some(target.to_str().unwrap().to_owned())
    }

    /// The store paths that Nix finds installed.
    fn nix_lists(&self) -> Vec<String> {
        let list = self
            .store
            .nix("nix", &["profile", "list", "--profile", self.profile()]);
        list.lines()
            .map(|line| line.rsplit(' ').next().unwrap().to_owned())
            .collect()
    }
}

/// The farm, without what Nix's builder and keel name differently.
fn farm(tree: &Path) -> Vec<String> {
    let mut lines = NixStore::listing(&tree.canonicalize().unwrap());
    lines.retain(|line| !line.starts_with("manifest."));
    lines
}

fn hello(store: &NixStore, version: &str) -> String {
    store.add(
        &format!("hello-{version}"),
        &[("bin/hello", version), ("share/man/man1/hello.1", version)],
    )
}

fn other(store: &NixStore) -> String {
    store.add("other-1", &[("bin/other", "o"), ("lib/other/data", "o")])
}

#[test]
fn nix_lists_changes_and_collects_what_keel_installed_and_the_other_way_round() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let (first, second) = (hello(store, "2.10"), other(store));
    assert!(fixture.say(&["install", &first]).contains("+ hello 2.10"));
    fixture.say(&["install", &second]);
    assert_eq!(fixture.nix_lists(), [first.as_str(), second.as_str()]);
    let generations = store.nix("nix-env", &["-p", fixture.profile(), "--list-generations"]);
    assert_eq!(generations.lines().count(), 2, "{generations}");
    assert!(
        generations.lines().nth(1).unwrap().ends_with("(current)"),
        "{generations}"
    );
    let history = store.nix("nix", &["profile", "history", "--profile", fixture.profile()]);
    assert!(
        history.contains("hello: ∅ -> 2.10") && history.contains("other: ∅ -> 1"),
        "{history}"
    );
    store.nix_verifies();
    store.nothing_half();
    assert_eq!(
        fs::read_to_string(fixture.profile.join("bin/hello")).unwrap(),
        "2.10"
    );
    assert!(!store.path("home/tools.lock").exists());

    // Nix installs on top, keel reads and goes on.
    let third = store.add("third-3", &[("bin/third", "3")]);
    store.nix(
        "nix",
        &["profile", "install", &third, "--profile", fixture.profile()],
    );
    let listed = fixture.json(&["list"]);
    assert_eq!(listed["generation"], 3);
    let names: Vec<_> = listed["elements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(names, ["hello", "other", "third"]);
    fixture.say(&["remove", "other"]);
    assert_eq!(fixture.nix_lists(), [first.as_str(), third.as_str()]);
    store.nix("nix", &["profile", "rollback", "--profile", fixture.profile()]);
    assert_eq!(fixture.json(&["list"])["generation"], 3);

    // The profile lies outside the store's own directory, and is a root all the same.
    let garbage = store.add("garbage", &[("f", "")]);
    fixture.say(&["switch", "4"]);
    fixture.say(&["wipe-history"]);
    store.nix("nix-store", &["--gc"]);
    assert!(!Path::new(&garbage).exists() && !Path::new(&second).exists());
    assert!(Path::new(&first).exists() && Path::new(&third).exists());
    assert_eq!(fixture.nix_lists(), [first.as_str(), third.as_str()]);
    store.nix_verifies();
}

#[test]
fn the_farm_is_that_of_nix_own_builder() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let along = store.add("along-1", &[("bin/along", "a"), ("bin/tool", "of along")]);
    let further = store.add(
        "further-1",
        &[
            ("bin/along", "other"),
            ("share/further/f", ""),
            ("lib/x/further", ""),
        ],
    );
    let packages = [
        (5, hello(store, "2.10")),
        (5, other(store)),
        (
            5,
            store.add(
                "links-1",
                &[
                    ("lib64", "->lib"),
                    ("lib/x/a", "a"),
                    ("lib/gone", "->nowhere"),
                    ("bin/tool", "t"),
                    ("share/info/dir", ""),
                    ("share/info/links.info", ""),
                    (".hidden", ""),
                    ("log/build", ""),
                    ("bin/sh", "->/bin/sh"),
                    (
                        "nix-support/propagated-user-env-packages",
                        &format!("{along} {further}\n"),
                    ),
                ],
            ),
        ),
        (
            7,
            store.add(
                "worse-1",
                &[
                    ("bin/tool", "w"),
                    ("lib64/b", "b"),
                    ("lib/x/a", "w"),
                    ("share/info/dir", ""),
                ],
            ),
        ),
        (
            -3,
            store.add(
                "better-1",
                &[("lib/x/a", "better"), ("share/info/better.info", "")],
            ),
        ),
    ];
    let mut derivations = Vec::new();
    for (priority, path) in &packages {
        let priority_text = priority.to_string();
        let out = run(&mut fixture.keel(&["install", "--priority", &priority_text, path]));
        if path.ends_with("links-1") {
            // The list that it is left out in is that of the whole farm.
            assert!(text(&out.stderr).contains("lib/gone isn't linked: it leads nowhere"));
        }
        let words = [
            format!("\"true\" \"{priority}\" \"1\""),
            format!("(builtins.storePath \"{path}\")"),
        ];
        derivations.extend(words);
    }
    let derivations = derivations.join(" ");
    let expression = format!(
        "derivation {{ name = \"env\"; system = \"builtin\"; builder = \"builtin:buildenv\"; \
         manifest = \"/none\"; derivations = [ {derivations} ]; }}"
    );
    let theirs = store.nix("nix-build", &["--no-out-link", "-E", &expression]);
    let expected = farm(Path::new(theirs.trim()));
    assert!(expected.len() > 15, "{expected:?}");
    assert_eq!(farm(&fixture.profile), expected);
    // All of the same priority, in Nix and in keel: refused by both, for the same file.
    let refused = store.nix_refuses(&expression.replace("\"7\"", "\"5\""));
    assert!(refused.contains("bin/tool"), "{refused}");
    let said = fails(&mut fixture.keel(&["install", "--priority", "5", &packages[3].1]));
    assert!(said.contains("both bring 'bin/tool'"), "{said}");
    store.nix_verifies();
}

#[test]
fn a_collision_names_both_owners_and_a_priority_settles_it() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let (old, new) = (hello(store, "2.10"), hello(store, "2.12"));
    fixture.say(&["install", &old]);
    let said = fails(&mut fixture.keel(&["install", &new]));
    // Which one is named first depends on the hashes.
    for part in [
        "both bring 'bin/hello' with priority 5",
        "hello-2.10",
        "hello-2.12",
        &format!("{old}/bin/hello"),
        &format!("{new}/bin/hello"),
        "--priority",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(fixture.current().unwrap(), "tools-1-link");
    fixture.say(&["install", "--priority", "4", &new]);
    assert_eq!(
        fs::read_to_string(fixture.profile.join("bin/hello")).unwrap(),
        "2.12"
    );
    // Given again with another priority, only that changes.
    let said = fixture.say(&["install", "--priority", "6", &new]);
    assert!(said.contains("~ hello 2.12: priority 4 -> 6"), "{said}");
    assert_eq!(
        fs::read_to_string(fixture.profile.join("bin/hello")).unwrap(),
        "2.10"
    );
    assert!(fixture.say(&["install", &new]).contains("Nothing to do"));
    let said = fails(&mut fixture.keel(&["remove", "hello"]));
    assert!(
        said.contains("'hello' means several") && said.contains(&old),
        "{said}"
    );
    fixture.say(&["remove", "hello-2.10"]);
    assert_eq!(fixture.nix_lists(), [new]);
}

#[test]
fn killed_at_any_moment_the_profile_leads_to_the_old_or_the_new_generation() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let first = hello(store, "2.10");
    fixture.say(&["install", &first]);
    let kill = |failpoint: &str, arguments: &[&str]| {
        let status = fixture
            .keel(arguments)
            .env("KEEL_TEST_FAILPOINT", failpoint)
            .output()
            .unwrap()
            .status;
        assert_eq!(
            status.code(),
            None,
            "{failpoint} was not reached by {arguments:?}"
        );
    };
    for failpoint in [
        "before-sync",
        "before-rename",
        "between-renames",
        "before-register",
        "after-register",
        "before-generation",
        "before-profile",
        "after-profile",
    ] {
        let second = other(store);
        kill(failpoint, &["install", &second]);
        let listed = fixture.nix_lists();
        let whole = if failpoint == "after-profile" {
            listed == [first.as_str(), second.as_str()]
        } else {
            listed == [first.as_str()]
        };
        assert!(whole, "{failpoint}: {listed:?}");
        store.nix_verifies();
        // What a collection leaves is what the profile leads to.
        store.nix("nix-store", &["--gc"]);
        store.nix_verifies();
        assert_eq!(fixture.nix_lists(), listed, "{failpoint}");
        let second = other(store);
        fixture.say(&["install", &second]);
        assert_eq!(fixture.nix_lists(), [first.as_str(), second.as_str()]);
        store.nothing_half();
        // The farm goes, so that the next round makes it again.
        fixture.say(&["remove", "other"]);
        fixture.say(&["wipe-history"]);
        store.nix("nix-store", &["--gc"]);
    }
    let other = other(store);
    fixture.say(&["install", &other]);
    let (newest, before) = (fixture.current(), fixture.json(&["list"])["generation"].clone());
    kill("before-profile", &["rollback"]);
    assert_eq!(fixture.current(), newest);
    kill("after-profile", &["rollback"]);
    assert_ne!(fixture.json(&["list"])["generation"], before);
    kill("between-generations", &["wipe-history"]);
    assert_eq!(fixture.nix_lists(), [first.as_str()]);
    fixture.say(&["wipe-history"]);
    assert_eq!(fixture.json(&["history"]).as_array().unwrap().len(), 1);
    store.nix_verifies();
}

#[test]
fn installations_at_once_are_all_there_in_the_end() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let packages: BTreeSet<_> = (0..6)
        .map(|n| store.add(&format!("p-{n}"), &[(&format!("bin/p{n}"), "")]))
        .collect();
    let running: Vec<_> = packages
        .iter()
        .map(|path| {
            fixture
                .keel(&["install", path])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(fixture.nix_lists().into_iter().collect::<BTreeSet<_>>(), packages);
    assert_eq!(fixture.json(&["history"]).as_array().unwrap().len(), 6);
    assert!(!store.path("home/tools.lock").exists());
}

#[test]
fn a_lock_held_as_nix_holds_it_is_waited_for() {
    let fixture = Fixture::new();
    let path = hello(&fixture.store, "2.10");
    let lock_path = fixture.store.path("home/tools.lock");
    let lock = fs::File::create(&lock_path).unwrap();
    lock.lock().unwrap();
    let mut child = fixture
        .keel(&["install", &path])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(
        line.contains("waiting for") && line.contains("tools.lock"),
        "{line}"
    );
    assert_eq!(fixture.current(), None);
    // Nix removes the file and writes a byte into it, so that this lock isn't taken for the one that counts.
    fs::remove_file(&lock_path).unwrap();
    (&lock).write_all(b"d").unwrap();
    drop(lock);
    assert!(child.wait().unwrap().success());
    assert_eq!(fixture.current().unwrap(), "tools-1-link");
    assert!(!lock_path.exists());
}

#[test]
fn generations_are_listed_compared_switched_and_forgotten() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let (old, new, more) = (hello(store, "2.10"), hello(store, "2.12"), other(store));
    assert!(fixture.say(&["list"]).contains("Nothing is installed"));
    let said = fails(&mut fixture.keel(&["rollback"]));
    assert!(said.contains("no generation yet"), "{said}");
    fixture.say(&["install", &old]);
    let said = fails(&mut fixture.keel(&["rollback"]));
    assert!(said.contains("no generation before 1"), "{said}");
    fixture.say(&["install", &more]);
    fixture.say(&["remove", "hello"]);
    let changed = fixture.json(&["install", &new]);
    assert_eq!(
        (&changed["before"], &changed["generation"]),
        (&3.into(), &4.into())
    );
    assert_eq!(changed["changes"][0]["change"], "added");

    let differs = fixture.json(&["diff", "2"]);
    assert_eq!((&differs["from"], &differs["to"]), (&2.into(), &4.into()));
    assert_eq!(differs["changes"][0]["from"]["version"], "2.10");
    assert_eq!(differs["changes"][0]["to"]["version"], "2.12");
    let said = fixture.say(&["diff", "2", "4"]);
    assert!(said.contains("~ hello: 2.10 -> 2.12"), "{said}");
    assert!(fixture.say(&["diff"]).contains("+ hello 2.12"));

    let history = fixture.json(&["history"]);
    let marks: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["current"].clone())
        .collect();
    assert_eq!(marks, [false, false, false, true]);
    assert!(fixture.say(&["history"]).contains("- hello 2.10"));

    assert_eq!(fixture.json(&["rollback"])["generation"], 3);
    assert_eq!(fixture.json(&["rollback", "--to", "1"])["generation"], 1);
    assert_eq!(fixture.nix_lists(), [old.as_str()]);
    assert_eq!(fixture.json(&["switch", "3"])["generation"], 3);
    let said = fails(&mut fixture.keel(&["switch", "9"]));
    assert!(said.contains("no generation 9"), "{said}");
    // A number isn't used twice, whatever the profile leads to.
    assert_eq!(fixture.json(&["install", &old])["generation"], 5);

    let would = fixture.json(&["wipe-history", "--dry-run"]);
    assert_eq!(would["generations"], serde_json::json!([1, 2, 3, 4]));
    assert_eq!(
        fixture.json(&["wipe-history", "--older-than", "30d"])["generations"],
        serde_json::json!([])
    );
    let touch = |name: &str| {
        run(Command::new("touch")
            .args(["-h", "-d", "-40 days"])
            .arg(store.path(name)));
    };
    touch("home/tools-1-link");
    touch("home/tools-2-link");
    // The second one was current thirty days ago.
    assert_eq!(
        fixture.json(&["wipe-history", "--older-than", "30d"])["generations"],
        serde_json::json!([1])
    );
    fixture.say(&["wipe-history"]);
    assert_eq!(fixture.json(&["history"])[0]["generation"], 5);
    let roots = fs::read_dir(store.path("var/nix/gcroots/auto")).unwrap().count();
    assert_eq!(roots, 1);
}

#[test]
fn what_comes_along_is_linked_and_kept_by_the_collector() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let wanted = other(store);
    // Built, so that it refers to what it wants; and its library is found through a link to another package.
    let package = store.build(
        "hello-3",
        &[&wanted],
        &format!(
            "mkdir -p $out/bin $out/nix-support; echo 3 > $out/bin/hello; \
             echo {wanted} > $out/nix-support/propagated-user-env-packages; ln -s {wanted}/lib $out/lib"
        ),
    );
    let more = store.add("more-1", &[("lib/other/more", "")]);
    fixture.say(&["install", &package, &more]);
    assert_eq!(fixture.nix_lists(), [package.as_str(), more.as_str()]);
    assert!(fixture.profile.join("bin/other").exists() && fixture.profile.join("lib/other/data").exists());
    let references = store.nix("nix-store", &["-q", "--references", fixture.profile()]);
    assert!(
        references.contains(&wanted) && references.contains(&package),
        "{references}"
    );
    store.nix("nix-store", &["--gc"]);
    assert!(fixture.profile.join("bin/other").exists());
    let said = fixture.json(&["upgrade"])["notes"][0]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        said.contains("hello 3 is a plain store path, which has no newer version"),
        "{said}"
    );

    let absent = store.path("store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-absent");
    let bad = store.add(
        "bad-1",
        &[(
            "nix-support/propagated-user-env-packages",
            absent.to_str().unwrap(),
        )],
    );
    let said = fails(&mut fixture.keel(&["install", &bad]));
    assert!(
        said.contains("absent (which bad-1 brings along) isn't in the store"),
        "{said}"
    );
    store.nix_verifies();
}

#[test]
fn what_cannot_be_installed_is_refused_with_what_to_do() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let good = hello(store, "2.10");
    let refused = |words: &[&str]| {
        let said = fails(&mut fixture.keel(&[&["install"], words].concat()));
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        said
    };
    let said = refused(&[&good, "curl", "g++"]);
    assert!(said.contains("curl, g++ are Debian packages"), "{said}");
    assert!(said.contains("/etc/keel/system.toml"), "{said}");
    assert!(
        said.contains("`[packages] install = [\"curl\", \"g++\"]`"),
        "{said}"
    );
    assert!(said.contains("packages = [\"curl\", \"g++\"]`"), "{said}");
    let absent = store.path("store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-absent");
    assert!(refused(&[absent.to_str().unwrap()]).contains("is not a valid path of the store"));
    assert!(refused(&["/etc"]).contains("no path of the store"));
    assert!(refused(&["Curl!"]).contains("no path of the store"));
    let derivation = store.nix(
        "nix-instantiate",
        &[
            "-E",
            "derivation { name = \"x\"; system = \"s\"; builder = \"b\"; }",
        ],
    );
    assert!(refused(&[derivation.trim()]).contains("is a derivation"));
    assert!(refused(&["/nonexistent/tool.toml"]).contains("/nonexistent/tool.toml can't be built"));
    // Registered, but gone.
    let gone = other(store);
    run(Command::new("rm").arg("-rf").arg(&gone));
    assert!(refused(&[&gone]).contains("isn't there: `keel store repair`"));
    assert_eq!(fixture.current(), None);
    assert!(fs::read_dir(store.path("home")).unwrap().all(|entry| {
        let name = entry.unwrap().file_name();
        !name.to_str().unwrap().starts_with("tools")
    }));
    let said = fails(&mut fixture.keel(&["remove", "hello"]));
    assert!(said.contains("'hello' is not installed"), "{said}");
}

#[test]
fn a_profile_that_is_none_of_keels_is_left_alone() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let path = hello(store, "2.10");
    store.nix("nix-env", &["-p", fixture.profile(), "-i", &path]);
    let before = fixture.current();
    let said = fails(&mut fixture.keel(&["install", &path]));
    assert!(said.contains("made by nix-env"), "{said}");
    assert_eq!(fixture.current(), before);
    assert!(
        fixture.json(&["history"])[0]["damage"]
            .as_str()
            .unwrap()
            .contains("made by nix-env")
    );

    fs::remove_file(&fixture.profile).unwrap();
    std::os::unix::fs::symlink("/etc", &fixture.profile).unwrap();
    assert!(!fails(&mut fixture.keel(&["install", &path])).is_empty());
    assert_eq!(fs::read_link(&fixture.profile).unwrap(), Path::new("/etc"));
    let said = fails(&mut store.keel(&["profile", "list", "--profile", "/"]));
    assert!(
        said.contains("no name of a profile") || said.contains("no path of a profile"),
        "{said}"
    );
}

#[test]
fn a_profile_of_systems_is_never_changed() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let package = hello(store, "2.10");
    for name in ["var/nix/profiles/system", "home/tools"] {
        let profile = store.path(name);
        let profile = profile.to_str().unwrap();
        for version in ["1", "2"] {
            let system = store.add(&format!("keel-system-{version}"), &[("boot.json", "{}")]);
            store.nix("nix-env", &["-p", profile, "--set", &system]);
        }
        let changes: [&[&str]; 5] = [
            &["install", &package],
            &["remove", "hello"],
            &["rollback"],
            &["switch", "1"],
            &["wipe-history"],
        ];
        for change in changes {
            let said = fails(&mut store.keel(&[&["profile"], change, &["--profile", profile]].concat()));
            assert!(
                said.contains("holds systems, not packages: `keel switch`"),
                "{said}"
            );
        }
        assert!(
            fs::read_link(profile)
                .unwrap()
                .to_str()
                .unwrap()
                .ends_with("-2-link")
        );
    }
}

#[test]
fn users_and_the_machine_have_profiles_of_their_own_below_another_root_too() {
    let root = tempfile::tempdir().unwrap();
    let scratch = root.path().join("hello-1");
    fs::create_dir_all(scratch.join("bin")).unwrap();
    fs::write(scratch.join("bin/hello"), "hello").unwrap();
    std::os::unix::fs::symlink("bin", scratch.join("sbin")).unwrap();
    let nix = |arguments: &[&str]| {
        let mut command = Command::new("nix-store");
        text(&run(command.arg("--store").arg(root.path()).args(arguments)).stdout)
    };
    let path = nix(&["--add", scratch.to_str().unwrap()]).trim().to_owned();
    let second = root.path().join("second-1");
    fs::create_dir_all(second.join("sbin")).unwrap();
    fs::write(second.join("sbin/second"), "").unwrap();
    let second = nix(&["--add", second.to_str().unwrap()]).trim().to_owned();
    let keel = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keel"));
        command
            .arg("profile")
            .args(arguments)
            .arg("--store")
            .arg(root.path());
        text(&run(&mut command).stdout)
    };
    keel(&["install", &path, &second]);
    keel(&["install", "--system", &path]);
    let user = text(&run(Command::new("id").arg("-un")).stdout);
    let profiles = root.path().join("nix/var/nix/profiles");
    let own = profiles.join("per-user").join(user.trim()).join("profile");
    for (link, name) in [
        (own, "profile-1-link"),
        (profiles.join("default"), "default-1-link"),
    ] {
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(name));
        let generation = fs::read_link(link.with_file_name(name)).unwrap();
        let farm = root.path().join(generation.strip_prefix("/").unwrap());
        assert!(farm.join("manifest.json").exists());
        // Links hold the names that count once this root is the machine's.
        if name == "profile-1-link" {
            let sbin = fs::read_link(farm.join("sbin/hello")).unwrap();
            assert_eq!(sbin, Path::new(&format!("{path}/bin/hello")));
        }
    }
    nix(&["--gc"]);
    nix(&["--verify", "--check-contents"]);
    assert!(keel(&["list", "--system"]).contains("hello"));
    assert!(keel(&["list"]).contains("second"));
    run(Command::new("chmod").args(["-R", "u+w"]).arg(root.path()));
}
