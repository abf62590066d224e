//! A store, a shell in it, and what builders are asked to do.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::nix_store::{NixStore, fails, run, text};

/// A store that builders may look into, and the path of a shell in it.
pub(crate) struct Lab {
    pub(crate) store: NixStore,
    pub(crate) shell: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let store = NixStore::new();
        // The ids of a sandbox are nobody's: they reach what everybody does.
        fs::set_permissions(store.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(store.path("settings.toml"), "").unwrap();
        let shell = store.shell();
        Self { store, shell }
    }

    pub(crate) fn keel(&self, arguments: &[&str]) -> Command {
        let mut command = self.store.keel(arguments);
        command.env("KEEL_SETTINGS", self.store.path("settings.toml"));
        command
    }

    /// What `keel build` prints.
    pub(crate) fn builds(&self, arguments: &[&str]) -> Vec<String> {
        let out = run(self.keel(&["build"]).args(arguments));
        text(&out.stdout).lines().map(str::to_owned).collect()
    }

    pub(crate) fn refuses(&self, arguments: &[&str]) -> String {
        fails(self.keel(&["build"]).args(arguments))
    }

    /// An expression with `shell`, which is the store's, and `run` for a derivation that runs a script with that.
    pub(crate) fn expression(&self, body: &str) -> String {
        format!(
            "let tools = builtins.storePath \"{}\"; \
             run = name: script: more: derivation ({{ inherit name; system = builtins.currentSystem; \
             builder = \"${{tools}}/bin/sh\"; args = [ \"-c\" script ]; PATH = \"${{tools}}/bin\"; }} // more); in {body}",
            self.shell
        )
    }

    /// The paths of the derivations that an expression is.
    pub(crate) fn instantiates(&self, body: &str) -> Vec<String> {
        let said = self.store.nix("nix-instantiate", &["-E", &self.expression(body)]);
        // `!dev` stands behind one whose output isn't `out`.
        let paths = said
            .lines()
            .map(|line| line.split('!').next().unwrap().to_owned());
        paths.collect()
    }

    /// Hash, size, references and deriver of paths, as Nix sees them.
    pub(crate) fn facts(&self, paths: &[String]) -> Vec<String> {
        let mut facts = Vec::new();
        for path in paths {
            let query = |what: &str| self.store.nix("nix-store", &["--query", what, path]);
            facts.push(format!(
                "{path} {} {} {} {}",
                query("--hash"),
                query("--size"),
                query("--references"),
                query("--deriver")
            ));
        }
        facts
    }

    pub(crate) fn forgets(&self, paths: &[String]) {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.store.nix("nix-store", &[&["--delete"], &paths[..]].concat());
    }

    /// Builds by keel alone; the only path.
    pub(crate) fn same_by_keel(&self, body: &str) -> String {
        let derivation = self.instantiates(body);
        let paths = self.builds(&[&derivation[0]]);
        self.store.nix_verifies();
        paths[0].clone()
    }

    /// Builds by keel, then by Nix, and compares what both know of the results.
    pub(crate) fn same_by_both(&self, body: &str) -> Vec<String> {
        let derivations = self.instantiates(body);
        let derivations: Vec<&str> = derivations.iter().map(String::as_str).collect();
        let ours = self.builds(&derivations);
        assert!(!ours.is_empty());
        self.store.nix_verifies();
        let facts = self.facts(&ours);
        self.forgets(&ours);
        let theirs = self
            .store
            .nix("nix-store", &[&["--realise"], &derivations[..]].concat());
        let mut theirs: Vec<String> = theirs.lines().map(str::to_owned).collect();
        let mut sorted = ours.clone();
        sorted.sort();
        theirs.sort();
        assert_eq!(sorted, theirs);
        assert_eq!(facts, self.facts(&ours));
        ours
    }
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A builder that comes to us over the network, which only one whose output is known beforehand has, and waits for its
/// output: so a test sees it run for as long as it likes.
pub(crate) struct Caller {
    listener: TcpListener,
}

impl Caller {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Self { listener }
    }

    /// A derivation in the words of [`Lab::expression`]; it calls, sends its name, and its output is what it's told: "x".
    pub(crate) fn derivation(&self, name: &str, more: &str) -> String {
        let port = self.listener.local_addr().unwrap().port();
        let hash = "73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac";
        format!(
            "run \"{name}\" \"echo called; echo $name | nc 127.0.0.1 {port} >$out; cat $out\" {{ outputHashMode = \"flat\"; \
             outputHashAlgo = \"sha256\"; outputHash = \"{hash}\"; {more} }}"
        )
    }

    /// Waits for the next one that runs; its name, and what it waits on.
    pub(crate) fn next(&self) -> (String, TcpStream) {
        let (stream, _) = self.listener.accept().unwrap();
        let mut name = String::new();
        BufReader::new(&stream).read_line(&mut name).unwrap();
        (name.trim().to_owned(), stream)
    }

    /// Nobody else called until now.
    pub(crate) fn is_quiet(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        self.listener.accept().is_err()
    }
}

/// Lets a builder go on.
pub(crate) fn answer(mut stream: TcpStream) {
    stream.write_all(b"x\n").unwrap();
}

/// A command that runs, and what it says on standard error.
pub(crate) struct Running {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Running {
    pub(crate) fn new(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Self { child, said }
    }

    /// Waits until it says a line with `words`.
    pub(crate) fn says(&mut self, words: &str) {
        let mut all = String::new();
        loop {
            let before = all.len();
            assert!(
                self.said.read_line(&mut all).unwrap() > 0,
                "no '{words}' in {all}"
            );
            if all[before..].contains(words) {
                return;
            }
        }
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its good end; what it prints.
    pub(crate) fn ends(mut self) -> String {
        let mut errors = String::new();
        self.said.read_to_string(&mut errors).unwrap();
        let out = self.child.wait_with_output().unwrap();
        assert!(out.status.success(), "{errors}");
        text(&out.stdout)
    }
}

/// Contents of a tree, by name.
pub(crate) fn contents(tree: &Path) -> BTreeMap<String, String> {
    names(tree)
        .into_iter()
        .map(|name| (name.clone(), fs::read_to_string(tree.join(name)).unwrap()))
        .collect()
}
