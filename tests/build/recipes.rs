//! Recipes in TOML, Nix expressions, and profiles of what they build.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::lab::{Lab, contents};
use crate::nix_store::{run, text};
use crate::web::{Manners, Server};

/// The hash of a file, as recipes have it.
fn hash(file: &str) -> String {
    let line = format!("openssl dgst -sha256 -binary {file} | base64");
    let out = run(Command::new("sh").args(["-c", &line]));
    format!("sha256-{}", text(&out.stdout).trim())
}

struct Kitchen {
    lab: Lab,
    busybox: String,
}

impl Kitchen {
    fn new() -> Self {
        let lab = Lab::new();
        fs::create_dir(lab.store.path("recipes")).unwrap();
        let busybox = format!("busybox = {{ hash = \"{}\" }}", hash("/usr/bin/busybox"));
        Self { lab, busybox }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.lab.store.path("recipes").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text.replace("BUSYBOX", &self.busybox)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

const TOOL: &str = r#"
[derivation]
name = "tool"
version = "1.0"
BUSYBOX
script = """
mkdir -p $out/bin
printf '#!%s\\necho tool 1.0\\n' "$busybox/bin/sh" >$out/bin/tool
chmod +x $out/bin/tool
"""
"#;

#[test]
fn a_recipe_becomes_a_derivation_that_nix_builds_to_the_same() {
    let kitchen = Kitchen::new();
    let lab = &kitchen.lab;
    kitchen.write("tool.toml", TOOL);
    kitchen.write("src/hello.txt", "hello\nworld\n");
    kitchen.write(
        "fix.patch",
        "--- a/hello.txt\n+++ b/hello.txt\n@@ -1,2 +1,2 @@\n hello\n-world\n+patched\n",
    );
    let web = lab.store.path("web");
    fs::create_dir(&web).unwrap();
    fs::write(web.join("data.txt"), "from the web\n").unwrap();
    let server = Server::new(&web, Manners::default());
    let data = hash(web.join("data.txt").to_str().unwrap());
    let recipe = kitchen.write(
        "main.toml",
        &format!(
            r#"
[derivation]
name = "main"
version = "2"
outputs = ["out", "doc"]
BUSYBOX
patches = ["fix.patch"]
unpack = "src"
script = """
mkdir $out $doc
cp hello.txt $out/hello
tool >$out/tool
cat $data >$out/data
echo $GREETING $name $version >$out/said
echo $out >$doc/refers
"""

[derivation.sources]
src = "src"
data = {{ url = "{}/data.txt", hash = "{data}" }}

[derivation.inputs]
tool = "tool.toml"
shell = "{}"

[derivation.environment]
GREETING = "good day"
"#,
            server.url(),
            lab.shell
        ),
    );
    let built = lab.store.path("built.json");
    let out = run(&mut lab.keel(&["build", "--json", &recipe]));
    fs::write(built, &out.stdout).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let derivation = json[0]["derivation"].as_str().unwrap();
    assert_eq!(json[0]["isNew"], true);
    let path = json[0]["outputs"]["out"].as_str().unwrap().to_owned();
    let found = contents(path.as_ref());
    for (name, text) in [
        ("hello", "hello\npatched\n"),
        ("tool", "tool 1.0\n"),
        ("data", "from the web\n"),
        ("said", "good day main-2 2\n"),
    ] {
        assert_eq!(found[name], text);
    }
    lab.store.nix_verifies();
    let paths = vec![
        path.clone(),
        json[0]["outputs"]["doc"].as_str().unwrap().to_owned(),
    ];
    let facts = lab.facts(&paths);
    lab.forgets(&paths);
    lab.store.nix("nix-store", &["--realise", derivation]);
    assert_eq!(lab.facts(&paths), facts);
    assert!(
        server
            .requests()
            .iter()
            .any(|request| request.contains("/data.txt"))
    );
    // The same recipe is the same derivation; nothing is built again.
    let said = run(&mut lab.keel(&["build", "--json", &recipe])).stdout;
    let json: serde_json::Value = serde_json::from_slice(&said).unwrap();
    assert_eq!(
        (json[0]["derivation"].as_str(), &json[0]["isNew"]),
        (Some(derivation), &false.into())
    );
    assert_eq!(lab.builds(&[&format!("{recipe}^doc")]), paths[1..]);
}

#[test]
fn faults_of_recipes_are_shown_in_their_line() {
    let kitchen = Kitchen::new();
    let lab = &kitchen.lab;
    let with = |more: &str| {
        let text = format!("[derivation]\nname = \"a\"\n{more}script = \"echo >$out\"\n");
        lab.refuses(&[&kitchen.write("a.toml", &text)])
    };
    for (more, words, caret) in [
        ("", "a.toml:3:10: nothing runs the script", "3 | script = "),
        ("busybox = {}\n", "hash = \"sha256-", "  |           ^^"),
        (
            "busybox = { hash = \"sha256-AAAA\" }\n",
            "is no hash",
            "  |           ^^^^",
        ),
        ("nmae = 1\n", "a.toml:3:1: unknown field `nmae`", "  | ^^^^"),
        (
            "inputs = { x = \"b.toml\" }\n",
            "there is no recipe",
            "  |                ^^^",
        ),
        ("inputs = { x = \"a.toml\" }\n", "a.toml needs itself", "^^^"),
        (
            "inputs = { x = \"/usr/bin\" }\n",
            "is no store path, derivation or recipe",
            "^^^",
        ),
        (
            "sources = { x = \"missing\" }\n",
            "missing can't be read: No such file",
            "^^^",
        ),
        (
            "sources = { x = { url = \"http://h/x\" } }\n",
            "a download needs its hash",
            "^^^",
        ),
        ("shell = \"none\"\n", "there is no input or source 'none'", "^^^"),
    ] {
        let said = with(more);
        assert!(
            said.lines().last().unwrap().contains(words) && said.contains(caret),
            "{more}: {said}"
        );
    }
    lab.store.nothing_half();
}

#[test]
fn profiles_are_made_of_recipes() {
    let kitchen = Kitchen::new();
    let lab = &kitchen.lab;
    let recipe = kitchen.write("tool.toml", TOOL);
    let profile = lab.store.path("profile");
    let profile = profile.to_str().unwrap();
    run(&mut lab.keel(&["profile", "install", "--profile", profile, &recipe]));
    let tool = || text(&run(&mut Command::new(format!("{profile}/bin/tool"))).stdout);
    assert_eq!(tool(), "tool 1.0\n");
    kitchen.write("tool.toml", &TOOL.replace("1.0", "1.1"));
    run(&mut lab.keel(&["profile", "upgrade", "--profile", profile]));
    assert_eq!(tool(), "tool 1.1\n");
    run(&mut lab.keel(&["gc"]));
    assert_eq!(tool(), "tool 1.1\n");
    lab.store.nix_verifies();
}

#[test]
fn a_store_below_another_root_is_built_into() {
    let kitchen = Kitchen::new();
    let store = &kitchen.lab.store;
    let recipe = kitchen.write("tool.toml", TOOL);
    let root = store.path("root");
    fs::create_dir(&root).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keel"));
    command
        .args(["build", "--store", root.to_str().unwrap(), &recipe])
        .env("KEEL_SETTINGS", store.path("settings.toml"));
    let path = text(&run(&mut command).stdout);
    // The path is the one that it has once that root is the machine's.
    let inside = path.trim().strip_prefix("/nix/store/").unwrap();
    let tool = fs::read_to_string(root.join("nix/store").join(inside).join("bin/tool")).unwrap();
    assert!(tool.starts_with("#!/nix/store/"), "{tool}");
    let mut nix = Command::new("nix-store");
    nix.args(["--store", root.to_str().unwrap(), "--verify", "--check-contents"])
        .env("HOME", store.path("home"))
        .env("NIX_CONF_DIR", store.path("conf"));
    let said = text(&run(&mut nix).stderr);
    assert!(!said.contains("error") && !said.contains("modified"), "{said}");
}

#[test]
fn nix_expressions_are_built() {
    let lab = Lab::new();
    let file = lab.store.path("expression.nix");
    let body = "{ one = run \"one\" \"echo 1 >$out\" {}; two = run \"two\" \"echo 2 >$out; echo dev >$dev\" \
                { outputs = [ \"out\" \"dev\" ]; }; }";
    fs::write(&file, lab.expression(body)).unwrap();
    let file = file.to_str().unwrap();
    let paths = lab.builds(&["--nix", file, "-A", "one", "-A", "two.dev"]);
    let said: Vec<String> = paths
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(said, ["1\n", "dev\n"]);
    fs::write(lab.store.path("wrong.nix"), "{").unwrap();
    let wrong = lab.store.path("wrong.nix");
    let refused = lab.refuses(&["--nix", wrong.to_str().unwrap()]);
    assert!(
        refused
            .lines()
            .last()
            .unwrap()
            .contains("nix-instantiate can't read"),
        "{refused}"
    );
}
