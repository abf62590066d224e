#![allow(clippy::unwrap_used, clippy::indexing_slicing, unused_results)]
use std::sync::Barrier;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proptest::prelude::*;

use super::*;

/// A kernel that writes down what is loaded.
#[derive(Clone, Default)]
struct Fake {
    log: Arc<Mutex<Log>>,
    /// Errors by file name.
    errors: HashMapOf<i32>,
    /// Waited for twice by the load of a file: when it starts and before it ends.
    meet: HashMapOf<Arc<Barrier>>,
}

type HashMapOf<T> = Arc<BTreeMap<String, T>>;

#[derive(Default)]
struct Log {
    /// Names of files; `+` at the start of a load, `-` at its end.
    events: Vec<String>,
    parameters: BTreeMap<String, String>,
}

impl Insert for Fake {
    fn insert(&self, path: &Path, parameters: &CStr) -> io::Result<()> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        {
            let mut log = self.log.lock().unwrap();
            log.events.push(format!("+{name}"));
            log.parameters
                .insert(name.clone(), parameters.to_str().unwrap().to_owned());
        }
        if let Some(barrier) = self.meet.get(&name) {
            barrier.wait();
            barrier.wait();
        }
        self.log.lock().unwrap().events.push(format!("-{name}"));
        self.errors
            .get(&name)
            .map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(*code)))
    }
}

impl Fake {
    fn failing(errors: &[(&str, i32)]) -> Fake {
        let errors = errors
            .iter()
            .map(|(name, code)| ((*name).to_owned(), *code))
            .collect();
        Fake {
            errors: Arc::new(errors),
            ..Fake::default()
        }
    }

    fn start(&self, table: Table, workers: usize) -> Loader {
        self.start_with(table, &ModuleParameters::default(), workers)
    }

    fn start_with(&self, table: Table, parameters: &ModuleParameters, workers: usize) -> Loader {
        Loader::with(
            table,
            Path::new("/lib/modules"),
            parameters,
            Box::new(self.clone()),
            workers,
        )
        .unwrap()
    }

    /// What was loaded, in the order of the starts.
    fn started(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.events
            .iter()
            .filter_map(|event| event.strip_prefix('+'))
            .map(str::to_owned)
            .collect()
    }

    /// Whether the load of one numbered module ended before that of another one started.
    fn in_order(&self, first: usize, second: usize) -> bool {
        let (end, start) = (
            self.place(&format!("-m{first}")),
            self.place(&format!("+m{second}")),
        );
        end.is_some() && end < start
    }

    fn place(&self, event: &str) -> Option<usize> {
        self.log
            .lock()
            .unwrap()
            .events
            .iter()
            .position(|known| known == event)
    }
}

/// A module per name; `links` are `before>after` (dependency), `before)after` (soft, before), `before(after` (soft:
/// `after` once `before` is loaded).
fn table(names: &[&str], links: &[&str]) -> Table {
    let module = |name: &&str| Module {
        name: (*name).to_owned(),
        file: (*name).to_owned(),
        ..Module::default()
    };
    let mut table = Table {
        kernel: "6.12".to_owned(),
        modules: names.iter().map(module).collect(),
        ..Table::default()
    };
    for link in links {
        let place = link.find(['>', ')', '(']).unwrap();
        let (first, second) = (
            table.find(&link[..place]).unwrap(),
            table.find(&link[place + 1..]).unwrap(),
        );
        match &link[place..=place] {
            ">" => table.modules[second].depends.push(first),
            ")" => table.modules[second].soft_before.push(first),
            _ => table.modules[first].soft_after.push(second),
        }
    }
    table
}

fn readable(loader: &Loader) -> bool {
    let mut fds = [PollFd::new(loader.poll_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
}

#[test]
fn who_waits_for_a_module_does_not_wait_for_others() {
    let (slow, end) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let fake = Fake {
        meet: Arc::new(BTreeMap::from([
            ("disk".to_owned(), Arc::clone(&slow)),
            ("last".to_owned(), Arc::clone(&end)),
        ])),
        ..Fake::default()
    };
    let loader = fake.start(table(&["disk", "other", "last", "a", "b"], &["a>b"]), 2);
    loader.request_name("disk");
    // The second thread is kept busy until everything is asked for.
    loader.request_name("last");
    slow.wait();
    end.wait();
    loader.request_name("other");
    loader.request_name("b");
    end.wait();
    loader.wait_for(["b", "nosuch"]);
    assert!(fake.place("-b").is_some() && fake.place("-disk").is_none());
    assert!(!loader.is_idle());
    slow.wait();
    loader.wait_idle();
    assert_eq!(fake.started().len(), 5);
}

#[test]
fn at_the_start_disks_and_what_unlocks_them_come_first() {
    let fake = Fake::default();
    let mut table = table(
        &["dm_mod", "dm_crypt", "erofs", "ahci", "nvme_core", "nvme"],
        &["dm_mod>dm_crypt", "nvme_core>nvme"],
    );
    table.aliases.push(("pci:v*d*sv*sd*bc01sc06i01*".to_owned(), 3));
    table.aliases.push(("pci:v*d*sv*sd*bc01sc08i02*".to_owned(), 5));
    let loader = fake.start(table, 1);
    let devices = ["bc01sc06i01", "bc01sc08i02"]
        .map(|class| format!("pci:v00001B36d00000010sv00001AF4sd00001100{class}"));
    loader.request_at_start(&devices, &["dm_mod", "dm_crypt"], &["erofs"]);
    loader.wait_idle();
    assert_eq!(
        fake.started(),
        ["nvme_core", "nvme", "dm_mod", "dm_crypt", "ahci", "erofs"]
    );
}

#[test]
fn only_drivers_wait_for_the_probing_of_others() {
    let fake = Fake::default();
    let mut table = table(&["ahci", "dm_mod", "xts"], &[]);
    for (pattern, index) in [
        ("pci:v*d*sv*sd*bc01sc06i01*", 0),
        ("devname:mapper/control", 1),
        ("crypto-xts", 2),
    ] {
        table.aliases.push((pattern.to_owned(), index));
    }
    let loader = fake.start(table, 1);
    loader.wait_for(["ahci", "dm_mod", "crypto-xts"]);
    let log = fake.log.lock().unwrap();
    for (name, parameters) in [("ahci", ""), ("dm_mod", " async_probe"), ("xts", " async_probe")] {
        assert_eq!(log.parameters[name], parameters, "{name}");
    }
}

#[test]
fn dependencies_come_first_and_soft_ones_around() {
    let fake = Fake::default();
    let loader = fake.start(
        table(
            &["d", "c", "b", "a", "z", "unused"],
            &["a>b", "b>c", "z)c", "c(d", "a>d"],
        ),
        3,
    );
    loader.request_name("c");
    loader.wait_idle();
    for (first, second) in [("-a", "+b"), ("-b", "+c"), ("-z", "+c"), ("-c", "+d")] {
        assert!(
            fake.place(first).unwrap() < fake.place(second).unwrap(),
            "{first} {second}"
        );
    }
    assert_eq!(fake.started().len(), 5);
    assert_eq!(loader.loaded().len(), 5);
    assert!(loader.failures().is_empty());
}

#[test]
fn each_module_is_loaded_once() {
    let fake = Fake::default();
    let loader = fake.start(table(&["a", "b"], &["a>b"]), 2);
    for _ in 0..3 {
        loader.request_name("b");
        loader.request_name("a");
        loader.wait_idle();
    }
    assert_eq!(fake.started(), ["a", "b"]);
}

#[test]
fn independent_modules_load_at_the_same_time() {
    // Neither load returns before the other one runs.
    let barrier = Arc::new(Barrier::new(2));
    let meet = [("a".to_owned(), Arc::clone(&barrier)), ("b".to_owned(), barrier)];
    let fake = Fake {
        meet: Arc::new(BTreeMap::from(meet)),
        ..Fake::default()
    };
    let loader = fake.start(table(&["a", "b", "c"], &["a>c", "b>c"]), 2);
    loader.request_name("c");
    loader.wait_idle();
    assert_eq!(fake.started()[2], "c");
}

#[test]
fn a_failure_spreads_along_dependencies_only() {
    let fake = Fake::failing(&[("bad", libc::ENOEXEC), ("there", libc::EEXIST)]);
    let names = ["bad", "hard", "harder", "soft", "there", "user"];
    let loader = fake.start(
        table(&names, &["bad>hard", "hard>harder", "bad)soft", "there>user"]),
        2,
    );
    loader.request_name("harder");
    loader.request_name("soft");
    loader.request_name("user");
    loader.wait_idle();
    assert_eq!(
        loader.failures(),
        [
            "bad: Exec format error (the module belongs to another kernel)",
            "hard: bad, which it depends on, isn't loaded",
            "harder: hard, which it depends on, isn't loaded",
        ]
    );
    let loaded: BTreeSet<_> = loader.loaded().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        loaded,
        BTreeSet::from(["soft", "there", "user"].map(str::to_owned))
    );
}

#[test]
fn what_depends_on_an_earlier_failure_fails_too() {
    let fake = Fake::failing(&[("bad", libc::ENODEV)]);
    let loader = fake.start(table(&["bad", "late"], &["bad>late"]), 1);
    loader.request_name("bad");
    loader.wait_idle();
    loader.request_name("late");
    assert!(loader.is_idle());
    assert_eq!(loader.failures().len(), 2);
    assert_eq!(fake.started(), ["bad"]);
}

#[test]
fn circles_do_not_hang() {
    let fake = Fake::default();
    let links = [
        "a>b", "b>a", "b>c", "d)e", "d>e", "e)d", "f>f", "g)g", "h(i", "i(h",
    ];
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let loader = fake.start(table(&names, &links), 2);
    for name in names {
        loader.request_name(name);
    }
    loader.wait_idle();
    let failed: BTreeSet<_> = loader
        .failures()
        .iter()
        .map(|line| line[..1].to_owned())
        .collect();
    assert_eq!(failed, BTreeSet::from(["a", "b", "c", "f"].map(str::to_owned)));
    let circle = loader
        .failures()
        .into_iter()
        .find(|line| line.contains("circle: "))
        .unwrap();
    assert!(
        circle.ends_with("modules depend on each other in a circle: a, b"),
        "{circle}"
    );
    assert!(fake.place("-d").unwrap() < fake.place("+e").unwrap());
}

#[test]
fn a_failed_module_is_not_loaded_when_its_soft_dependencies_end() {
    let fake = Fake::default();
    let loader = fake.start(table(&["a", "b", "user"], &["a>b", "b>a", "a>user", "b)user"]), 2);
    loader.request_name("user");
    loader.wait_idle();
    assert_eq!(loader.failures().len(), 3);
    assert!(fake.started().is_empty());
}

#[test]
fn the_descriptor_tells_the_end_of_loads() {
    let fake = Fake::default();
    let loader = fake.start(table(&["a", "b"], &[]), 1);
    assert!(loader.is_idle() && !readable(&loader));
    loader.request_name("a");
    let mut fds = [PollFd::new(loader.poll_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::NONE), Ok(1));
    assert!(loader.is_idle());
    loader.acknowledge();
    loader.acknowledge();
    assert!(!readable(&loader));
    loader.request_name("b");
    loader.wait_idle();
    assert!(readable(&loader));
}

#[test]
fn an_old_end_is_not_taken_for_a_new_one() {
    let barrier = Arc::new(Barrier::new(2));
    let meet = BTreeMap::from([("b".to_owned(), Arc::clone(&barrier))]);
    let fake = Fake {
        meet: Arc::new(meet),
        ..Fake::default()
    };
    let loader = fake.start(table(&["a", "b"], &[]), 1);
    loader.request_name("a");
    loader.wait_idle();
    loader.request_name("b");
    assert!(!readable(&loader) && !loader.is_idle());
    barrier.wait();
    barrier.wait();
    loader.wait_idle();
    assert!(readable(&loader));
}

#[test]
fn dropping_forgets_what_has_not_started() {
    let barrier = Arc::new(Barrier::new(2));
    let meet = BTreeMap::from([("a".to_owned(), Arc::clone(&barrier))]);
    let fake = Fake {
        meet: Arc::new(meet),
        ..Fake::default()
    };
    let loader = fake.start(table(&["a", "b"], &["a>b"]), 1);
    loader.request_name("b");
    barrier.wait();
    // `a` is being loaded now. What drop() does first, without its waiting:
    loader.shared.lock().stop = true;
    barrier.wait();
    drop(loader);
    assert_eq!(fake.started(), ["a"]);
}

#[test]
fn aliases_names_and_blacklists() {
    let mut table = table(&["nvme", "nouveau", "ext4", "e1000"], &[]);
    table.aliases = vec![
        ("pci:v*d*sv*sd*bc01sc08i02*".to_owned(), 0),
        ("pci:v000010DEd*".to_owned(), 1),
        ("fs-ext4".to_owned(), 2),
        ("pci:v00008086d*bc02*".to_owned(), 3),
    ];
    table.builtin = vec!["vfat".to_owned()];
    table.builtin_aliases = vec!["fs-vfat".to_owned(), "pci:v*d*sv*sd*bc01sc06i01*".to_owned()];
    table.blacklist = vec!["nouveau".to_owned()];
    let parameters = ModuleParameters {
        blacklist: vec!["nvme".to_owned()],
        ..ModuleParameters::default()
    };
    let fake = Fake::default();
    let loader = fake.start_with(table, &parameters, 2);
    let nvme = "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02";
    loader.request_alias(nvme);
    loader.request_alias(nvme);
    loader.request_alias("pci:v000010DEd00000001sv00000000sd00000000bc03sc00i00");
    loader.request_alias("pci:v00001111d00000001sv00000000sd00000000bc01sc06i01");
    loader.request_alias("virtio:d00000002v00001AF4");
    loader.request_alias("virtio:d00000005v00001AF4");
    for name in ["fs-ext4", "fs_ext4", "vfat", "fs-vfat", "btrfs"] {
        loader.request_name(name);
    }
    loader.wait_idle();
    assert_eq!(fake.started(), ["ext4"]);
    assert_eq!(
        loader.unmatched(),
        [
            format!("PCI storage controller (NVM Express) 1b36:0010; modalias {nvme}; nvme is blacklisted"),
            "Virtio disk; modalias virtio:d00000002v00001AF4".to_owned(),
        ]
    );
    assert_eq!(
        loader.failures(),
        ["btrfs: neither in this initrd image nor built into its kernel"]
    );
    // By name it's what somebody wants.
    loader.request_name("nouveau");
    loader.wait_idle();
    assert_eq!(fake.started(), ["ext4", "nouveau"]);
}

#[test]
fn parameters_of_the_table_and_of_the_command_line() {
    let mut table = table(&["a", "b"], &[]);
    table.modules[0].options = "x=1 y".to_owned();
    let options = ["x=2", "name=two words", "flag"].map(str::to_owned).to_vec();
    let parameters = ModuleParameters {
        options: BTreeMap::from([("a".to_owned(), options)]),
        ..ModuleParameters::default()
    };
    let fake = Fake::default();
    let loader = fake.start_with(table, &parameters, 1);
    loader.request_name("a");
    loader.request_name("b");
    loader.wait_idle();
    let log = fake.log.lock().unwrap();
    assert_eq!(
        log.parameters["a"],
        "x=1 y x=2 name=\"two words\" flag async_probe"
    );
    assert_eq!(log.parameters["b"], " async_probe");
}

/// Modules that need only earlier ones: pairs of numbers, and what is asked for.
fn graphs() -> impl Strategy<Value = (usize, Vec<(usize, usize, bool)>, Vec<usize>)> {
    (1_usize..24).prop_flat_map(|count| {
        let link = (0..count, 0..count, any::<bool>());
        (
            Just(count),
            prop::collection::vec(link, 0..60),
            prop::collection::vec(0..count, 1..6),
        )
    })
}

fn graph(count: usize, links: &[(usize, usize, bool)]) -> Table {
    let names: Vec<_> = (0..count).map(|number| format!("m{number}")).collect();
    let mut table = table(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    for (one, other, hard) in links {
        let module = &mut table.modules[*one];
        if *hard {
            module.depends.push(*other);
        } else {
            module.soft_before.push(*other);
        }
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn graphs_without_circles_load_in_order((count, links, wanted) in graphs(), workers in 1_usize..5) {
        let links: Vec<_> = links.into_iter().filter(|(one, other, _)| other < one).collect();
        let table = graph(count, &links);
        let fake = Fake::default();
        let loader = fake.start(table, workers);
        for number in &wanted {
            loader.request_name(&format!("m{number}"));
        }
        loader.wait_idle();
        let mut needed = BTreeSet::new();
        let mut stack = wanted;
        while let Some(number) = stack.pop() {
            if needed.insert(number) {
                stack.extend(links.iter().filter(|(one, _, _)| *one == number).map(|(_, other, _)| *other));
            }
        }
        let mut started = fake.started();
        started.sort();
        let mut expected: Vec<_> = needed.iter().map(|number| format!("m{number}")).collect();
        expected.sort();
        prop_assert_eq!(started, expected);
        for (one, other, _) in links.iter().filter(|(one, _, _)| needed.contains(one)) {
            prop_assert!(fake.in_order(*other, *one));
        }
        prop_assert!(loader.failures().is_empty());
    }

    #[test]
    fn any_graph_ends((count, links, wanted) in graphs(), bad in 0_usize..24, workers in 1_usize..5) {
        let fake = Fake::failing(&[(&format!("m{bad}"), libc::ENODEV)]);
        let loader = fake.start(graph(count, &links), workers);
        for number in &wanted {
            loader.request_name(&format!("m{number}"));
        }
        loader.wait_idle();
        let loaded: BTreeSet<_> = loader.loaded().into_iter().map(|(name, _)| name).collect();
        let failed = loader.failures().len();
        for (one, other, _) in links.iter().filter(|link| link.2) {
            if loaded.contains(&format!("m{one}")) {
                prop_assert!(fake.in_order(*other, *one));
                let name = format!("m{other}");
                prop_assert!(loaded.contains(&name));
            }
        }
        for number in wanted {
            let name = format!("m{number}");
            prop_assert!(failed > 0 || loaded.contains(&name));
        }
    }
}
