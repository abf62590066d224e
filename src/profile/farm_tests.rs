#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]
use super::*;
use proptest::prelude::*;

const STORE: &str = "/nix/store";

/// Packages in memory: names of files, and texts of the few that are read.
#[derive(Default)]
struct Memory {
    files: BTreeMap<PathBuf, Option<String>>,
    // Links to directories, by their place.
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Memory {
    fn file(mut self, package: &StorePath, name: &str) -> Self {
        let path = Path::new(&package.absolute(STORE)).join(name);
        self.files.insert(path, None);
        self
    }

    fn text(mut self, package: &StorePath, name: &str, text: &str) -> Self {
        let path = Path::new(&package.absolute(STORE)).join(name);
        self.files.insert(path, Some(text.to_owned()));
        self
    }

    fn link(mut self, package: &StorePath, name: &str, target: &str) -> Self {
        let place = Path::new(&package.absolute(STORE)).join(name);
        let target = place.parent().unwrap().join(target);
        self.files.insert(place.clone(), None);
        self.links.insert(place, target);
        self
    }

    fn real(&self, path: &Path) -> PathBuf {
        let mut real = PathBuf::new();
        for part in path.components() {
            if part == std::path::Component::ParentDir {
                real.pop();
            } else {
                real.push(part);
            }
            if let Some(target) = self.links.get(&real) {
                real = self.real(target);
            }
        }
        real
    }

    fn is_directory(&self, real: &Path) -> bool {
        self.files
            .keys()
            .any(|file| file.starts_with(real) && file != real)
    }
}

impl Trees for Memory {
    fn list(&self, directory: &Path) -> io::Result<Option<Vec<(OsString, Kind)>>> {
        let real = self.real(directory);
        if !self.is_directory(&real) {
            let is_file = self.files.contains_key(&real);
            return is_file
                .then_some(None)
                .ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        let below = self.files.keys().filter_map(|file| file.strip_prefix(&real).ok());
        let names: BTreeSet<OsString> = below
            .filter_map(|file| Some(file.components().next()?.as_os_str().to_owned()))
            .collect();
        let kind = |name: &OsString| match self.real(&real.join(name)) {
            inner if self.is_directory(&inner) => Kind::Directory,
            inner if self.files.contains_key(&inner) => Kind::File,
            _ => Kind::Dangling,
        };
        Ok(Some(
            names.iter().map(|name| (name.clone(), kind(name))).collect(),
        ))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(self.real(path))
    }

    fn text(&self, path: &Path) -> io::Result<Option<String>> {
        Ok(self.files.get(path).cloned().flatten())
    }

    fn store_dir(&self) -> &str {
        STORE
    }
}

fn path(n: usize) -> StorePath {
    StorePath::from_base_name(&format!("mgvzxmm9gsamf9p3rfr8jva7rkfbwmb{n}-p{n}")).unwrap()
}

fn package(n: usize, priority: i64) -> Package {
    Package {
        priority,
        path: path(n),
    }
}

/// Names with what they lead to, the packages' names shortened to `pN`; directories end with a slash.
fn shown(farm: &Farm) -> Vec<String> {
    let mut all = Vec::new();
    farm.walk(&mut |name, place| {
        all.push(match place {
            Place::Link(link) => {
                let target = link.target.strip_prefix(STORE).unwrap().to_str().unwrap();
                format!("{} -> {}", name.display(), &target[33..])
            }
            Place::Directory(..) => format!("{}/", name.display()),
        });
    });
    all
}

fn merged(packages: &[Package], trees: &Memory) -> Vec<String> {
    shown(&Farm::merge(packages, trees).unwrap())
}

#[test]
fn a_directory_of_one_package_is_one_link_and_a_shared_one_is_merged() {
    let trees = Memory::default()
        .file(&path(1), "bin/a")
        .file(&path(1), "share/man/a.1")
        .file(&path(1), "lib/a")
        .file(&path(2), "bin/b")
        .file(&path(2), "share/man/b.1")
        .file(&path(2), "share/doc/b/readme");
    assert_eq!(
        merged(&[package(2, 5), package(1, 5)], &trees),
        [
            "bin/",
            "bin/a -> p1/bin/a",
            "bin/b -> p2/bin/b",
            "lib -> p1/lib",
            "share/",
            "share/doc -> p2/share/doc",
            "share/man/",
            "share/man/a.1 -> p1/share/man/a.1",
            "share/man/b.1 -> p2/share/man/b.1",
        ]
    );
}

#[test]
fn a_collision_names_both_owners_and_both_files() {
    let trees = Memory::default()
        .file(&path(1), "bin/tool")
        .file(&path(2), "bin/tool");
    let error = Farm::merge(&[package(1, 5), package(2, 5)], &trees).unwrap_err();
    let FarmError::Collision(collision) = &error else {
        panic!("{error}")
    };
    assert_eq!(collision.place, Path::new("bin/tool"));
    assert_eq!(
        (&collision.first.package.path, &collision.second.package.path),
        (&path(1), &path(2))
    );
    let said = error.to_string();
    for part in [
        "p1 and p2 both bring 'bin/tool'",
        "p1/bin/tool and /nix/store/",
        "p2/bin/tool;",
        "--priority",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn the_lower_priority_wins_whatever_the_kinds() {
    let trees = Memory::default()
        .file(&path(1), "bin/tool")
        .file(&path(1), "etc")
        .file(&path(1), "lib/x/y")
        .file(&path(2), "bin/tool")
        .file(&path(2), "bin/other")
        .file(&path(2), "etc/conf")
        .file(&path(2), "lib/x");
    assert_eq!(
        merged(&[package(1, 5), package(2, 6)], &trees),
        [
            "bin/",
            "bin/other -> p2/bin/other",
            "bin/tool -> p1/bin/tool",
            "etc -> p1/etc",
            "lib/",
            "lib/x -> p1/lib/x"
        ]
    );
    assert_eq!(
        merged(&[package(1, 5), package(2, -1)], &trees),
        [
            "bin/",
            "bin/other -> p2/bin/other",
            "bin/tool -> p2/bin/tool",
            "etc -> p2/etc",
            "lib/",
            "lib/x -> p2/lib/x"
        ]
    );
    for place in ["etc", "lib/x"] {
        let trees = Memory::default()
            .file(&path(1), place)
            .file(&path(2), &format!("{place}/below"));
        assert!(matches!(
            Farm::merge(&[package(1, 5), package(2, 5)], &trees),
            Err(FarmError::Collision(_))
        ));
    }
}

#[test]
fn a_linked_directory_that_is_merged_leads_to_where_it_really_is() {
    let trees = Memory::default()
        .file(&path(1), "lib/a")
        .link(&path(1), "lib64", "lib")
        .file(&path(2), "lib64/b")
        .link(&path(3), "nowhere", "gone/further");
    let farm = Farm::merge(&[package(1, 5), package(2, 5), package(3, 5)], &trees).unwrap();
    assert_eq!(
        shown(&farm),
        [
            "lib -> p1/lib",
            "lib64/",
            "lib64/a -> p1/lib/a",
            "lib64/b -> p2/lib64/b"
        ]
    );
    assert_eq!(farm.left_out.len(), 1);
    assert!(farm.left_out[0].ends_with("p3/nowhere isn't linked: it leads nowhere"));
}

#[test]
fn what_a_package_brings_along_is_linked_and_never_wins() {
    let list = "nix-support/propagated-user-env-packages";
    let wants = |n: usize| path(n).absolute(STORE);
    let trees = Memory::default()
        .file(&path(1), "bin/a")
        .text(&path(1), list, &format!("{}  {}\n", wants(2), wants(3)))
        .file(&path(2), "bin/a")
        .file(&path(2), "bin/b")
        .text(&path(2), list, &wants(1))
        .file(&path(3), "bin/b")
        .file(&path(3), "bin/c");
    let farm = Farm::merge(&[package(1, 5)], &trees).unwrap();
    assert_eq!(
        shown(&farm),
        [
            "bin/",
            "bin/a -> p1/bin/a",
            "bin/b -> p2/bin/b",
            "bin/c -> p3/bin/c"
        ]
    );
    assert_eq!(farm.owners.len(), 3);
    assert_eq!(farm.owners[2].to_string(), "p3 (which p1 brings along)");

    let trees = Memory::default()
        .file(&path(1), "bin/a")
        .text(&path(1), list, "../../etc");
    assert!(matches!(
        Farm::merge(&[package(1, 5)], &trees),
        Err(FarmError::BadPropagated { .. })
    ));
    let trees = Memory::default()
        .file(&path(1), "bin/a")
        .text(&path(1), list, &wants(9));
    let said = Farm::merge(&[package(1, 5)], &trees).unwrap_err().to_string();
    assert!(
        said.starts_with("p9 (which p1 brings along) isn't in the store"),
        "{said}"
    );
}

#[test]
fn private_names_stay_out() {
    let mut trees = Memory::default().file(&path(1), "share/info/a.info");
    for name in [
        ".hidden",
        "nix-support/setup-hook",
        "log",
        "manifest.nix",
        "manifest.json",
        "share/info/dir",
        "share/perllocal.pod",
        "share/propagated-build-inputs",
    ] {
        trees = trees.file(&path(1), name).file(&path(2), name);
    }
    trees = trees.file(&path(2), "share/info/b.info");
    assert_eq!(
        merged(&[package(1, 5), package(2, 5)], &trees),
        [
            "share/",
            "share/info/",
            "share/info/a.info -> p1/share/info/a.info",
            "share/info/b.info -> p2/share/info/b.info",
        ]
    );
}

#[test]
fn links_in_a_circle_end() {
    let trees = Memory::default()
        .file(&path(1), "a")
        .link(&path(1), "x", ".")
        .file(&path(2), "b")
        .link(&path(2), "x", ".");
    assert!(matches!(
        Farm::merge(&[package(1, 5), package(2, 5)], &trees),
        Err(FarmError::TooLarge(_))
    ));
}

#[test]
fn a_package_that_is_a_file_is_left_out() {
    let trees = Memory::default().file(&path(1), "").file(&path(2), "bin/b");
    let farm = Farm::merge(&[package(1, 5), package(2, 5)], &trees).unwrap();
    assert_eq!(shown(&farm), ["bin -> p2/bin"]);
    assert!(farm.left_out[0].ends_with("it is no directory"));
}

proptest! {
    #[test]
    fn every_file_is_found_through_the_farm_and_the_order_of_packages_does_not_matter(
        files in proptest::collection::vec((1usize..5, "[ab](/[ab]){0,3}"), 1..20),
        seed in any::<u64>(),
    ) {
        // Names of files end with one that no directory has, so that kinds never meet.
        let mut trees = Memory::default();
        for (n, name) in &files {
            trees = trees.file(&path(*n), &format!("{name}/f"));
        }
        let present: BTreeSet<usize> = files.iter().map(|(n, _)| *n).collect();
        let mut packages: Vec<_> = present.iter().map(|n| package(*n, i64::try_from(*n).unwrap())).collect();
        let farm = Farm::merge(&packages, &trees).unwrap();
        let count = packages.len();
        packages.rotate_left(usize::try_from(seed % count as u64).unwrap());
        prop_assert_eq!(shown(&Farm::merge(&packages, &trees).unwrap()), shown(&farm));

        for (_, name) in &files {
            let best = files.iter().filter(|(_, other)| other == name).map(|(n, _)| *n).min().unwrap();
            let wanted = Path::new(&path(best).absolute(STORE)).join(name).join("f");
            let mut places = &farm.places;
            let mut found = None;
            let full = Path::new(name).join("f");
            let mut parts = full.components();
            while let Some(part) = parts.next() {
                match &places[part.as_os_str()] {
                    Place::Link(link) => {
                        found = Some(link.target.join(parts.as_path()));
                        break;
                    }
                    Place::Directory(_, _, below) => places = below,
                }
            }
            // join() with nothing left adds a slash.
            prop_assert_eq!(found.unwrap().components().collect::<PathBuf>(), wanted);
        }
    }
}
