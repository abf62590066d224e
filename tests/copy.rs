//! Paths between stores and binary caches, beside Nix: each reads what the other wrote.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]

mod kills;
mod nix_store;
mod web;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix_store::{NixStore, fails, run, text};

/// A store with a path that needs another one, and an empty store of the same directory.
struct Pair {
    store: NixStore,
    needed: String,
    top: String,
}

impl Pair {
    fn new() -> Self {
        let store = NixStore::new();
        let large = "0123456789abcdef".repeat(20_000);
        let needed = store.add(
            "needed",
            &[("file", "text\n"), ("large", &large), ("link", "->file")],
        );
        let top = store.build(
            "top",
            &[&needed],
            &format!(
                "mkdir $out; echo {needed} $out >$out/needs; echo '#!/bin/sh' >$out/run; chmod +x $out/run"
            ),
        );
        Self { store, needed, top }
    }

    fn cache(&self, name: &str) -> (PathBuf, String) {
        let path = self.store.path(name);
        let url = format!("file://{}", path.display());
        (path, url)
    }

    /// Takes the store away: what follows has the same directory, and nothing in it.
    fn empty(&self) {
        for part in ["store", "var"] {
            run(Command::new("chmod")
                .args(["-R", "u+w"])
                .arg(self.store.path(part)));
            fs::remove_dir_all(self.store.path(part)).unwrap();
        }
        self.store.nix("nix-store", &["--init"]);
    }

    fn is_whole(&self) {
        let needs = fs::read_to_string(Path::new(&self.top).join("needs")).unwrap();
        assert_eq!(needs, format!("{} {}\n", self.needed, self.top));
        self.store.nix_verifies();
        self.store.nothing_half();
        let references = self
            .store
            .nix("nix-store", &["--query", "--references", &self.top]);
        let mut expected = [self.needed.as_str(), self.top.as_str()];
        expected.sort_unstable();
        let mut references: Vec<_> = references.split_whitespace().collect();
        references.sort_unstable();
        assert_eq!(references, expected);
    }

    fn fetch(&self, url: &str) -> Command {
        self.store
            .keel(&["copy", "--no-check-signatures", "--from", url, &self.top])
    }
}

#[test]
fn what_keel_puts_into_a_cache_nix_takes_out() {
    for compression in ["none", "xz", "zstd"] {
        let pair = Pair::new();
        let (_, url) = pair.cache("cache");
        let said = pair
            .store
            .say(&["copy", "--compression", compression, "--to", &url, &pair.top]);
        assert_eq!(said, format!("{}\n{}\n", pair.needed, pair.top), "{compression}");
        // Nothing is copied twice.
        assert_eq!(pair.store.say(&["copy", "--to", &url, &pair.top]), "");
        pair.empty();
        pair.store
            .nix("nix", &["copy", "--no-check-sigs", "--from", &url, &pair.top]);
        pair.is_whole();
    }
}

#[test]
fn what_nix_puts_into_a_cache_keel_takes_out() {
    for compression in ["none", "xz", "zstd"] {
        let pair = Pair::new();
        let (_, url) = pair.cache("cache");
        pair.store.nix(
            "nix",
            &[
                "copy",
                "--to",
                &format!("{url}?compression={compression}"),
                &pair.top,
            ],
        );
        pair.empty();
        let said = text(&run(&mut pair.fetch(&url)).stdout);
        assert_eq!(said, format!("{}\n{}\n", pair.needed, pair.top), "{compression}");
        pair.is_whole();
        assert_eq!(text(&run(&mut pair.fetch(&url)).stdout), "");
    }
}

#[test]
fn a_web_server_is_read_and_gone_on_with_after_each_cut() {
    let pair = Pair::new();
    let (path, url) = pair.cache("cache");
    pair.store.nix(
        "nix",
        &["copy", "--to", &format!("{url}?compression=none"), &pair.top],
    );
    for ranges in [true, false] {
        // Each connection ends after 100,000 bytes.
        let server = web::Server::new(
            &path,
            web::Manners {
                cut: Some(100_000),
                ranges,
            },
        );
        pair.empty();
        let mut command = pair.fetch(&server.url());
        if ranges {
            run(&mut command);
            pair.is_whole();
            assert!(server.requests().iter().any(|request| request.contains("bytes=")));
        } else {
            // Without ranges it begins anew each time, and doesn't come further.
            let said = fails(&mut command);
            assert!(said.contains("needed"), "{said}");
            pair.store.nothing_half();
        }
    }
    let server = web::Server::new(&path, web::Manners::default());
    pair.empty();
    run(&mut pair.fetch(&server.url()));
    pair.is_whole();
    // And Nix reads from it what keel wrote.
    let (path, url) = pair.cache("ours");
    pair.store.say(&["copy", "--to", &url, &pair.top]);
    let server = web::Server::new(&path, web::Manners::default());
    pair.empty();
    pair.store.nix(
        "nix",
        &["copy", "--no-check-sigs", "--from", &server.url(), &pair.top],
    );
    pair.is_whole();
}

#[test]
fn only_what_a_trusted_key_signed_is_taken() {
    let pair = Pair::new();
    let (_, url) = pair.cache("cache");
    let secret = pair.store.path("secret");
    let public = pair
        .store
        .say(&["key", "generate", "keel-test-1", secret.to_str().unwrap()]);
    let other = pair.store.say(&[
        "key",
        "generate",
        "keel-test-1",
        pair.store.path("other").to_str().unwrap(),
    ]);
    let (public, other) = (public.trim(), other.trim());
    pair.store.say(&[
        "copy",
        "--sign",
        secret.to_str().unwrap(),
        "--to",
        &url,
        &pair.top,
    ]);
    pair.empty();
    let take = |key: &[&str]| {
        let mut arguments = vec!["copy", "--from", &url, &pair.top];
        arguments.extend(key);
        pair.store.keel(&arguments)
    };
    for key in [&[][..], &["--trusted-key", other]] {
        let said = fails(&mut take(key));
        assert!(
            said.contains("has no signature by a key that is trusted"),
            "{said}"
        );
        pair.store.nothing_half();
        assert!(!Path::new(&pair.top).exists());
    }
    run(&mut take(&["--trusted-key", public]));
    pair.is_whole();
    // By the settings, too.
    pair.empty();
    let settings = pair.store.path("keel.toml");
    fs::write(
        &settings,
        format!("[store]\ncaches = [\"{url}\"]\ntrusted_keys = [\"{public}\"]\n"),
    )
    .unwrap();
    run(pair
        .store
        .keel(&["copy", &pair.top])
        .env("KEEL_SETTINGS", &settings));
    pair.is_whole();
    // Nix trusts the same key, and what it signs with it.
    pair.empty();
    pair.store.nix(
        "nix",
        &[
            "copy",
            "--option",
            "trusted-public-keys",
            public,
            "--from",
            &url,
            &pair.top,
        ],
    );
    pair.is_whole();
    let signed = pair.cache("signed").1;
    let options = format!("{signed}?secret-key={}&compression=zstd", secret.display());
    pair.store.nix("nix", &["copy", "--to", &options, &pair.top]);
    pair.empty();
    let said = text(
        &run(&mut pair
            .store
            .keel(&["copy", "--trusted-key", public, "--from", &signed, &pair.top]))
        .stdout,
    );
    assert!(said.contains(&pair.top), "{said}");
    pair.is_whole();
}

#[test]
fn what_is_damaged_or_false_is_refused_and_leaves_nothing() {
    let pair = Pair::new();
    let (path, url) = pair.cache("cache");
    pair.store
        .say(&["copy", "--compression", "none", "--to", &url, &pair.top]);
    let narinfo = |of: &str| {
        let hash = Path::new(of).file_name().unwrap().to_str().unwrap()[..32].to_owned();
        path.join(format!("{hash}.narinfo"))
    };
    let info = fs::read_to_string(narinfo(&pair.needed)).unwrap();
    let of = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    let archive = path.join(of("URL"));
    let bytes = fs::read(&archive).unwrap();
    let with =
        |key: &str, value: &str| info.replace(&format!("{key}: {}", of(key)), &format!("{key}: {value}"));
    let without_file_hash = info
        .lines()
        .filter(|line| !line.starts_with("File"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut changed = bytes.clone();
    changed[5000] ^= 1;
    let longer = [&bytes[..], &[0; 8]].concat();
    let zero = format!("sha256:{}", "0".repeat(52));
    let outside = "../../../../etc/passwd";
    for (what, info, archive_bytes, says) in [
        ("a changed byte", info.clone(), &changed, "its hash is sha256:"),
        (
            "a changed byte, no file hash",
            without_file_hash.clone(),
            &changed,
            "its archive has the hash",
        ),
        ("cut", info.clone(), &bytes[..3000].to_vec(), "instead of"),
        (
            "cut, no file hash",
            without_file_hash.clone(),
            &bytes[..3000].to_vec(),
            "in the middle",
        ),
        ("longer", info.clone(), &longer, "longer than the"),
        (
            "longer, no file hash",
            without_file_hash,
            &longer,
            "longer than the",
        ),
        ("another hash", with("NarHash", &zero), &bytes, "should have"),
        (
            "a larger size",
            with("NarSize", "99999999"),
            &bytes,
            "should have",
        ),
        (
            "a smaller size",
            with("NarSize", "4096"),
            &bytes,
            "longer than the 4096 bytes",
        ),
        (
            "a place outside",
            with("URL", outside),
            &bytes,
            "leads out of the cache",
        ),
        (
            "another path",
            with("StorePath", &pair.top),
            &bytes,
            "when it's asked for",
        ),
        (
            "no hash",
            info.replace("NarHash", "Nothing"),
            &bytes,
            "it has no NarHash",
        ),
        (
            "an unknown compression",
            with("Compression", "br"),
            &bytes,
            "Compression",
        ),
        ("nonsense", "\0\0\n".to_owned(), &bytes, "line 1"),
    ] {
        fs::write(narinfo(&pair.needed), info).unwrap();
        fs::write(&archive, archive_bytes).unwrap();
        pair.empty();
        let said = fails(&mut pair.fetch(&url));
        assert!(said.contains(says), "{what}: {said}");
        assert_eq!(said.lines().count(), 1, "{what}: {said}");
        assert!(
            !Path::new(&pair.needed).exists() && !Path::new(&pair.top).exists(),
            "{what}"
        );
        pair.store.nix_verifies();
        pair.store.nothing_half();
    }
    // What is missing is named with what needs it.
    fs::remove_file(narinfo(&pair.needed)).unwrap();
    pair.empty();
    let said = fails(&mut pair.fetch(&url));
    assert!(
        said.contains("needed, which") && said.contains("top needs"),
        "{said}"
    );
}

#[test]
fn a_cache_of_another_store_is_refused() {
    let pair = Pair::new();
    let (path, url) = pair.cache("cache");
    pair.store.say(&["copy", "--to", &url, &pair.top]);
    fs::write(path.join("nix-cache-info"), "StoreDir: /other/store\n").unwrap();
    pair.empty();
    let said = fails(&mut pair.fetch(&url));
    assert!(said.contains("is of the store /other/store"), "{said}");
    let said = fails(&mut pair.fetch("ftp://nowhere"));
    assert!(said.contains("is no cache"), "{said}");
}

#[test]
fn what_was_damaged_is_mended_from_a_cache() {
    use std::os::unix::fs::PermissionsExt;
    let pair = Pair::new();
    let (path, url) = pair.cache("cache");
    pair.store.say(&["copy", "--to", &url, &pair.top]);
    let damage = || {
        let file = Path::new(&pair.needed).join("large");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&file, "damaged").unwrap();
        run(Command::new("rm").arg("-r").arg(&pair.top));
    };
    damage();
    let repair = ["store", "repair", "--no-check-signatures", "--from", &url];
    let said = pair.store.say(&repair);
    assert_eq!(said.lines().count(), 2, "{said}");
    pair.is_whole();
    assert_eq!(pair.store.say(&repair), "");
    // What the cache hasn't is told, and the rest is mended.
    damage();
    let hash = &Path::new(&pair.top).file_name().unwrap().to_str().unwrap()[..32];
    fs::remove_file(path.join(format!("{hash}.narinfo"))).unwrap();
    let out = pair.store.keel(&repair).output().unwrap();
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        said.contains("mended /") && said.contains("not mended: none of the caches has"),
        "{said}"
    );
    let verified = pair.store.keel(&["store", "verify"]).output().unwrap();
    assert!(
        text(&verified.stdout).contains("1 faults"),
        "{}",
        text(&verified.stdout)
    );
}

#[test]
fn a_copy_killed_anywhere_goes_on() {
    let pair = Pair::new();
    let (path, url) = pair.cache("cache");
    pair.store.say(&["copy", "--to", &url, &pair.top]);
    pair.empty();
    let points = kills::points(&pair.fetch(&url));
    let mut killed = 0;
    for point in &points {
        pair.empty();
        killed += usize::from(kills::kill_at(&pair.fetch(&url), point));
        pair.store.nix_verifies();
        run(&mut pair.fetch(&url));
        // What a killed addition left is removed by the next one, which there need not be when all was there.
        pair.store
            .say(&["store", "add", pair.store.path("conf").to_str().unwrap()]);
        pair.is_whole();
    }
    assert!(killed * 2 > points.len(), "{killed} of {}", points.len());
    // Into a cache.
    let push = pair.store.keel(&["copy", "--to", &url, &pair.top]);
    fs::remove_dir_all(&path).unwrap();
    let points = kills::points(&push);
    for point in &points {
        fs::remove_dir_all(&path).unwrap();
        let _killed = kills::kill_at(&push, point);
        // What it tells of, it has.
        let known = fs::read_dir(&path).into_iter().flatten().filter_map(Result::ok);
        for narinfo in known.filter(|entry| entry.path().extension().is_some_and(|end| end == "narinfo")) {
            let text = fs::read_to_string(narinfo.path()).unwrap();
            let place = text.lines().find_map(|line| line.strip_prefix("URL: ")).unwrap();
            assert!(path.join(place).exists(), "{point:?}: {text}");
        }
        run(&mut pair.store.keel(&["copy", "--to", &url, &pair.top]));
        run(&mut pair
            .store
            .program("nix", &["path-info", "--store", &url, "--recursive", &pair.top]));
    }
}

#[test]
fn a_copy_shows_on_a_terminal_how_far_it_has_come() {
    let pair = Pair::new();
    let (_, url) = pair.cache("cache");
    let line = format!("{} copy --to {url} {}", env!("CARGO_BIN_EXE_keel"), pair.top);
    // script(1) gives it a terminal.
    let arguments = ["--quiet", "--return", "--command", &line, "/dev/null"];
    let said = text(&run(&mut pair.store.program("script", &arguments)).stdout);
    assert!(said.contains("[####") && said.contains("2/2 paths, "), "{said:?}");
    assert!(said.contains(&pair.top), "{said:?}");
    // Elsewhere the result is all that there is.
    let (_, url) = pair.cache("other");
    let out = run(&mut pair.store.keel(&["copy", "--to", &url, &pair.top]));
    assert_eq!(text(&out.stderr), "");
}

/// Names of files below a directory, from there.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// A web server of OpenSSL's, ended with the test.
struct Secure(std::process::Child);

impl Secure {
    /// Serves files that hold whole answers.
    fn new(directory: &Path, port: u16, certificate: &Path, key: &Path) -> Self {
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-HTTP", "-accept", &port.to_string()])
            .args([Path::new("-cert"), certificate, Path::new("-key"), key])
            .current_dir(directory)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Self(child)
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[test]
fn a_server_with_a_trusted_certificate_is_read_and_another_one_is_refused() {
    let pair = Pair::new();
    let (path, url) = pair.cache("cache");
    pair.store.say(&["copy", "--to", &url, &pair.top]);
    pair.empty();
    for file in files_below(&path) {
        let bytes = fs::read(&file).unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            bytes.len()
        );
        fs::write(&file, [head.as_bytes(), &bytes].concat()).unwrap();
    }
    let made = pair.store.path("scratch");
    let (key, certificate) = (made.join("key.pem"), made.join("certificate.pem"));
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
        ])
        .args(["basicConstraints=critical,CA:FALSE", "-keyout"])
        .args([&key, Path::new("-out"), &certificate]));
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let _server = Secure::new(&path, port, &certificate, &key);
    let url = format!("https://localhost:{port}");

    let said = fails(&mut pair.fetch(&url));
    assert!(
        said.contains(&url) && said.to_lowercase().contains("certificate"),
        "{said}"
    );
    assert!(!Path::new(&pair.top).exists());
    pair.store.nothing_half();

    // Only what this thread starts sees another list of authorities.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
    let trusted = Path::new("/etc/ssl/certs/ca-certificates.crt");
    mount(Some(&certificate), trusted, none, MsFlags::MS_BIND, none).unwrap();
    let said = text(&run(&mut pair.fetch(&url)).stdout);
    umount2(trusted, MntFlags::MNT_DETACH).unwrap();
    assert_eq!(said, format!("{}\n{}\n", pair.needed, pair.top));
    pair.is_whole();
}
