//! Imports, priorities, and the command line.

use super::{LEAST, load_all, problems, with};

#[test]
fn imported_files_come_first_and_each_is_read_once() {
    let b = format!(
        "{}packages.install = [\"wget\", \"git\"]\n",
        LEAST.replace("state_version = \"1\"\n", "")
    );
    let files = [
        (
            "system.toml",
            "state_version = \"1\"\nimports = [\"a/a.toml\", \"b.toml\"]\npackages.install = [\"vim\"]\n",
        ),
        (
            "a/a.toml",
            "imports = [\"../b.toml\"]\npackages.install = [\"git\", \"tree\"]\n",
        ),
        ("b.toml", &b),
    ];
    let loaded = load_all(&files, &[]).unwrap();
    // What several files have is there once.
    assert_eq!(loaded.config.packages.install, ["wget", "git", "tree", "vim"]);
    let names: Vec<String> = loaded
        .files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(names, ["/c/system.toml", "/c/a/a.toml", "/c/a/../b.toml"]);
}

#[test]
fn tables_merge_and_equal_values_agree() {
    let files = [
        (
            "system.toml",
            &*format!("imports = [\"b.toml\"]\n{LEAST}users.a = {{ normal = true, uid = 1000 }}\n"),
        ),
        (
            "b.toml",
            "[users.a]\nuid = 1000\nshell = \"/bin/sh\"\n[users.b]\nnormal = true\n",
        ),
    ];
    let config = load_all(&files, &[]).unwrap().config;
    assert_eq!(config.users["a"].shell.as_deref(), Some("/bin/sh"));
    assert!(config.users["a"].normal && config.users["b"].normal);
}

#[test]
fn different_values_name_both_places() {
    let files = [
        (
            "system.toml",
            &*format!("imports = [\"b.toml\"]\n{LEAST}system.hostname = \"a\"\n"),
        ),
        ("b.toml", "[system]\nhostname = \"b\"\n"),
    ];
    assert_eq!(
        problems(load_all(&files, &[])),
        [
            "/c/b.toml:2:12: system.hostname is \"b\" here; and \"a\" at /c/system.toml:4:19; take one of them out, or say \
          which one counts: system.hostname = { force = \"b\" }"
        ]
    );
}

#[test]
fn the_highest_priority_counts() {
    let hostname = |main: &str, imported: &str, options: &[&str]| {
        let files = [
            (
                "system.toml",
                &*format!("imports = [\"b.toml\"]\n{LEAST}{main}\n"),
            ),
            ("b.toml", imported),
        ];
        load_all(&files, options).map(|loaded| loaded.config.system.hostname)
    };
    let named = |value: &str| format!("system.hostname = {value}");
    for (main, imported, options, expected) in [
        ("\"a\"", "{ default = \"b\" }", &[][..], "a"),
        ("\"a\"", "{ force = \"b\" }", &[], "b"),
        ("{ default = \"a\" }", "{ force = \"b\" }", &[], "b"),
        (
            "{ force = \"a\" }",
            "{ force = \"b\" }",
            &["system.hostname=c"],
            "c",
        ),
        ("\"a\"", "\"b\"", &["system.hostname={ default = \"c\" }"], "c"),
    ] {
        let result = hostname(&named(main), &named(imported), options);
        assert_eq!(result.as_deref(), Ok(expected), "{main} {imported}");
    }
    assert!(hostname(&named("{ force = \"a\" }"), &named("{ force = \"b\" }"), &[]).is_err());
    // The same by keys with dots.
    assert_eq!(
        hostname(&named("\"a\""), "[system]\nhostname.force = \"b\"\n", &[]).as_deref(),
        Ok("b")
    );
}

#[test]
fn a_forced_list_replaces_the_others() {
    let files = [
        (
            "system.toml",
            &*format!("imports = [\"b.toml\"]\n{LEAST}packages.install = [\"vim\"]\n"),
        ),
        ("b.toml", "packages.install = { force = [\"git\"] }\n"),
    ];
    assert_eq!(load_all(&files, &[]).unwrap().config.packages.install, ["git"]);
    assert_eq!(
        load_all(&files, &["packages.install=[\"nano\"]"])
            .unwrap()
            .config
            .packages
            .install,
        ["nano"]
    );
}

#[test]
fn lists_of_tables_add_up() {
    let files = [
        (
            "system.toml",
            &*format!("imports = [\"b.toml\"]\n{LEAST}[[swap]]\ndevice = \"/dev/b\"\n"),
        ),
        (
            "b.toml",
            "[[swap]]\ndevice = \"/dev/a\"\n[[swap]]\ndevice = \"UUID=c\"\npriority = 3\n",
        ),
    ];
    let loaded = load_all(&files, &[]).unwrap();
    let devices: Vec<&str> = loaded
        .config
        .swap
        .iter()
        .map(|swap| swap.device.as_str())
        .collect();
    assert_eq!(devices, ["/dev/a", "UUID=c", "/dev/b"]);
    assert_eq!(
        loaded.place(&["swap", "1", "priority"]).to_string(),
        "/c/b.toml:5:12"
    );
}

#[test]
fn the_command_line_takes_toml_or_a_text() {
    let config = |options: &[&str]| load_all(&[("system.toml", LEAST)], options).map(|loaded| loaded.config);
    let loaded = config(&[
        "system.hostname=42",
        "system.keymap=de",
        "boot.timeout = 0",
        "filesystems.\"/\".check=false",
        "etc.\"a=b\".text=[Service]",
        "boot.kernel_params=[\"a=b\"]",
        "users.me={ normal = true }",
    ])
    .unwrap();
    assert_eq!(loaded.system.hostname, "42");
    assert_eq!((loaded.system.keymap.as_str(), loaded.boot.timeout), ("de", 0));
    assert!(!loaded.filesystems["/"].check && loaded.users["me"].normal);
    assert_eq!(loaded.boot.kernel_params, ["a=b"]);
    assert_eq!(loaded.etc["a=b"].text.as_deref(), Some("[Service]"));
    for (option, expected) in [
        (
            "system.hostname",
            "command line:1:1: an option on the command line is written KEY=VALUE; such as --option system.hostname=nixie",
        ),
        (
            "system.hostnam=a",
            "command line:1:8: [system] has no key \"hostnam\"; did you mean \"hostname\"?",
        ),
        (
            "boot.timeout=x",
            "command line:1:16: boot.timeout takes an integer from 0 to 3600, not a text",
        ),
        (
            "imports=[\"b\"]",
            "command line:1:1: files are imported by files alone",
        ),
        ("a b=1", "command line:1:3: this isn't TOML: "),
    ] {
        let told = problems(load_all(&[("system.toml", LEAST)], &[option]));
        assert_eq!(told.len(), 1, "{option}: {told:?}");
        assert!(told[0].starts_with(expected), "{option}: {told:?}");
    }
}

#[test]
fn files_beside_the_configuration_are_found_from_the_file_that_names_them() {
    let files = [
        ("system.toml", &*format!("imports = [\"web/web.toml\"]\n{LEAST}")),
        (
            "web/web.toml",
            "[etc.\"nginx.conf\"]\nsource = \"nginx.conf\"\n[etc.motd]\nsource = \"../motd\"\n",
        ),
        ("web/nginx.conf", "web"),
        ("motd", "hello"),
    ];
    let loaded = load_all(&files, &[]).unwrap();
    assert_eq!(
        loaded.config.etc["nginx.conf"].source.as_deref(),
        Some("web/nginx.conf")
    );
    assert_eq!(loaded.sources["web/nginx.conf"], b"web");
    assert_eq!(loaded.sources["motd"], b"hello");
}

#[test]
fn texts_of_units_take_one_value_or_several() {
    let loaded = with(
        "[units.\"a.service\".sections.Service]\nExecStart = \"/usr/bin/true\"\nExecStartPre = [\"/a\", \"/b\"]\n\
         TimeoutStopSec = 5\nRemainAfterExit = true\n",
    )
    .unwrap();
    let service = &loaded.config.units["a.service"].sections["Service"];
    assert_eq!(service["ExecStart"], ["/usr/bin/true"]);
    assert_eq!(service["ExecStartPre"], ["/a", "/b"]);
    assert_eq!(service["TimeoutStopSec"], ["5"]);
    assert_eq!(service["RemainAfterExit"], ["true"]);
}

#[test]
fn places_are_the_nearest_that_are_said() {
    let loaded = with("[packages]\ninstall = [\"vim\", \"git\"]\n").unwrap();
    assert_eq!(
        loaded.place_in_list(&["packages", "install"], 1).to_string(),
        "/c/system.toml:4:19"
    );
    assert_eq!(
        loaded.place(&["packages", "suite"]).to_string(),
        "/c/system.toml:3:2"
    );
    assert_eq!(
        loaded.place(&["services", "openssh"]).to_string(),
        "/c/system.toml:1:1"
    );
}

#[test]
fn booleans_become_what_their_reader_takes() {
    let loaded = with(
        "services.openssh.settings.X11Forwarding = false\nsysctl.\"net.ipv4.ip_forward\" = true\n\
         environment.A = true\nsysctl.\"vm.swappiness\" = 10\n",
    )
    .unwrap();
    let config = loaded.config;
    assert_eq!(config.services.openssh.settings["X11Forwarding"], "no");
    assert_eq!(config.sysctl["net.ipv4.ip_forward"], "1");
    assert_eq!(config.sysctl["vm.swappiness"], "10");
    assert_eq!(config.environment["A"], "true");
}
