//! Derivations that Nix instantiates: the same paths, contents, hashes and references as Nix's own builds have.

use std::fs;
use std::path::Path;

use crate::lab::{Lab, names};

#[test]
fn what_nix_instantiates_is_built_to_what_nix_builds() {
    let lab = Lab::new();
    lab.same_by_both("run \"simple\" \"mkdir $out; echo $name >$out/name; echo x >$out/program; chmod 700 $out/program\" {}");
    // Several outputs that name each other and themselves.
    let outputs = lab.same_by_both(
        "run \"several\" \"mkdir $out; echo $out $lib >$out/names; echo $out >$dev; mkdir $lib; echo $lib >$lib/own\" \
         { outputs = [ \"out\" \"dev\" \"lib\" ]; }",
    );
    assert_eq!(outputs.len(), 3);
    let circle = lab.instantiates(
        "run \"circle\" \"echo $dev >$out; echo $out >$dev\" { outputs = [ \"out\" \"dev\" ]; }",
    );
    assert!(
        lab.refuses(&[&circle[0]])
            .contains("refer to each other in a circle")
    );
    // A chain, at whose end only the first one is named.
    lab.same_by_both(
        "let a = run \"a\" \"echo a >$out\" {}; b = run \"b\" \"cat ${a} >$out; echo ${a} >>$out\" {}; \
         in run \"c\" \"mkdir $out; ln -s ${b} $out/b; cat ${b} >$out/text\" {}",
    );
    // Placeholders, and texts as files.
    lab.same_by_both(
        "run \"placeholder\" \"cat $textPath >$out; echo $where >>$out\" \
         { where = builtins.placeholder \"out\"; text = \"a text\"; passAsFile = [ \"text\" ]; }",
    );
    lab.same_by_both("run \"graph\" \"cat graph >$out\" { exportReferencesGraph = [ \"graph\" tools ]; }");
}

#[test]
fn an_output_that_is_gone_is_made_again_beside_the_others() {
    let lab = Lab::new();
    let derivation = &lab
        .instantiates("run \"parts\" \"echo out >$out; echo $out >$dev\" { outputs = [ \"out\" \"dev\" ]; }")
        [0];
    let paths = lab.builds(&[derivation]);
    let facts = lab.facts(&paths);
    let dev = paths.iter().find(|path| path.ends_with("-dev")).unwrap().clone();
    lab.forgets(std::slice::from_ref(&dev));
    assert_eq!(lab.builds(&[&format!("{derivation}^dev")]), [dev]);
    assert_eq!(lab.facts(&paths), facts);
    lab.store.nix_verifies();
}

#[test]
fn downloads_are_those_of_nix_itself() {
    let lab = Lab::new();
    let file = lab.store.path("data");
    fs::write(&file, "x\n").unwrap();
    for more in ["", "executable = true; "] {
        let hash = if more.is_empty() {
            "73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac".to_owned()
        } else {
            fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            let hash = lab
                .store
                .nix("nix-hash", &["--type", "sha256", file.to_str().unwrap()]);
            hash.trim().to_owned()
        };
        lab.same_by_both(&format!(
            "import <nix/fetchurl.nix> {{ url = \"file://{}\"; sha256 = \"{hash}\"; {more}}}",
            file.display()
        ));
    }
    let absent = &lab.instantiates(
        "import <nix/fetchurl.nix> { url = \"file:///nowhere/data\"; \
         sha256 = \"74cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac\"; }",
    )[0];
    assert!(
        lab.refuses(&[absent])
            .contains("file:///nowhere/data can't be fetched: ")
    );
}

#[test]
fn the_environment_is_the_one_that_nix_gives() {
    let lab = Lab::new();
    let attributes = "{ __structuredAttrs = true; number = 42; list = [ \"a b\" \"c\" ]; set = { x = true; }; \
                      graph.exported = [ tools ]; exportReferencesGraph = { exported = [ tools ]; }; }";
    lab.same_by_both(&format!(
        "run \"structured\" \"p=${{tools}}/bin; $p/mkdir ${{builtins.placeholder \"out\"}}; \
         $p/cat $NIX_ATTRS_JSON_FILE >${{builtins.placeholder \"out\"}}/json; \
         $p/cat $NIX_ATTRS_SH_FILE >${{builtins.placeholder \"out\"}}/sh\" {attributes}"
    ));
    let derivation = lab.instantiates(
        "run \"env\" \"export -p >$out; pwd >>$out; id -u >>$out; id -g >>$out\" { x = \"y z\"; }",
    );
    let said = fs::read_to_string(&lab.builds(&[&derivation[0]])[0]).unwrap();
    for line in [
        "export HOME='/homeless-shelter'",
        "export NIX_BUILD_TOP='/build'",
        "export NIX_LOG_FD='2'",
        "export TMPDIR='/build'",
        "export TERM='xterm-256color'",
        "export x='y z'",
        "/build",
        "1000",
        "100",
    ] {
        assert!(said.lines().any(|one| one == line), "{line}: {said}");
    }
}

#[test]
fn content_that_is_known_beforehand_is_checked() {
    let lab = Lab::new();
    // sha256 of "x\n".
    let right = "73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac";
    let fixed = |name: &str, hash: &str, mode: &str| {
        format!(
            "run \"{name}\" \"echo x >$out\" {{ outputHashMode = \"{mode}\"; outputHashAlgo = \"sha256\"; \
             outputHash = \"{hash}\"; }}"
        )
    };
    let paths = lab.same_by_both(&fixed("flat", right, "flat"));
    assert_eq!(fs::read_to_string(&paths[0]).unwrap(), "x\n");
    let info = lab.store.json(&["store", "path-info", &paths[0]]);
    assert!(info.to_string().contains("fixed:sha256:"), "{info}");
    let wrong = lab.instantiates(&fixed("wrong", &right.replace("73", "74"), "flat"));
    let said = lab.refuses(&[&wrong[0]]);
    let last = said.lines().last().unwrap();
    assert!(
        last.contains("hash mismatch")
            && last.contains("sha256-dMs4WKaHqElMozIwUwFigvPa051Cz2LKTnndoqrH2aw=")
            && last.contains("sha256-c8s4WKaHqElMozIwUwFigvPa051Cz2LKTnndoqrH2aw="),
        "{said}"
    );
    let recursive = lab.instantiates(&fixed("recursive", right, "recursive"));
    assert!(lab.refuses(&[&recursive[0]]).contains("hash mismatch"));
    lab.store.nix_verifies();
    lab.store.nothing_half();
}

#[test]
fn a_failed_build_leaves_its_log_and_nothing_else() {
    let lab = Lab::new();
    let derivation =
        lab.instantiates("run \"fails\" \"echo first; echo last words >&2; echo half >$out; exit 3\" {}");
    let before: Vec<_> = names(&lab.store.path("store"));
    let said = lab.refuses(&[&derivation[0]]);
    assert!(said.contains("fails> last words"), "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.contains("exit code 3") && last.contains(&format!("keel store log {}", derivation[0])),
        "{said}"
    );
    assert_eq!(names(&lab.store.path("store")), before);
    assert_eq!(
        lab.store.nix("nix-store", &["--read-log", &derivation[0]]),
        "first\nlast words\n"
    );
    // What it was doing stays when that is asked for.
    let said = lab.refuses(&["--keep-failed", &derivation[0]]);
    let kept = said.split("stays at ").nth(1).unwrap().trim();
    assert!(Path::new(kept).is_dir(), "{said}");
    fs::remove_dir_all(Path::new(kept).parent().unwrap()).unwrap();
}
