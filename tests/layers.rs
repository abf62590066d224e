//! dev
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keel::build::{Ended, IdRange, Input, Limits, Sandbox, run};
use keel::layers::Description;

#[test]
fn dev() {
    let directory = tempfile::tempdir_in("/tmp/layers").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut below: Option<PathBuf> = None;
    let read = |name: &str| -> Vec<PathBuf> {
        fs::read_to_string(format!("/tmp/layers/apt/{name}"))
            .unwrap()
            .lines()
            .filter(|l| !l.starts_with("keel-"))
            .map(|l| Path::new("/tmp/layers/apt/var/cache/apt/archives").join(l))
            .collect()
    };
    let base = read("base.list");
    let all = read("all.list");
    let rest: Vec<_> = all.iter().filter(|p| !base.contains(p)).cloned().collect();
    for (number, debs) in [base, rest].into_iter().enumerate() {
        let ids = IdRange::take(directory.path()).unwrap();
        let at = |name: &str| directory.path().join(format!("{name}-{number}"));
        for (name, id) in [("root", 0), ("build", 0)] {
            fs::create_dir(at(name)).unwrap();
            chown(at(name), Some(ids.first() + id), Some(ids.first() + id)).unwrap();
        }
        let packages = debs
            .iter()
            .map(|deb| Path::new("/debs").join(deb.file_name().unwrap()))
            .collect();
        let layer = Description {
            below: below.as_ref().map(|_| "/below".into()),
            packages,
            exclude: vec!["/usr/share/doc/*".into()],
            date: 1_760_000_000,
        };
        fs::write(
            at("build").join("layer.json"),
            serde_json::to_vec(&layer).unwrap(),
        )
        .unwrap();
        let mut inputs = vec![Input {
            source: std::env::var("KEEL")
                .unwrap_or(env!("CARGO_BIN_EXE_keel").into())
                .into(),
            target: "/bin/keel".into(),
        }];
        inputs.push(Input {
            source: "/tmp/layers/apt/var/cache/apt/archives".into(),
            target: "/debs".into(),
        });
        if let Some(below) = &below {
            inputs.push(Input {
                source: below.clone(),
                target: "/below".into(),
            });
        }
        let sandbox = Sandbox {
            root: at("root"),
            build_directory: at("build"),
            store_dir: "/nix/store".into(),
            inputs,
            builder: b"/bin/keel".to_vec(),
            arguments: vec![b"build-layer".to_vec()],
            environment: vec![
                (b"out".to_vec(), b"/nix/store/out".to_vec()),
                (b"layerPath".to_vec(), b"/build/layer.json".to_vec()),
            ],
            first_id: ids.first(),
            is_root: true,
            has_network: false,
            file_bytes_max: 10 << 30,
            memory_bytes_max: None,
        };
        let limits = Limits {
            time: Duration::from_mins(9),
            silence: Duration::from_mins(5),
            log_bytes: 100 << 20,
        };
        let start = Instant::now();
        let mut log = fs::File::create(format!("/tmp/layers/log-{number}")).unwrap();
        let ended = run(Path::new(env!("CARGO_BIN_EXE_keel")), &sandbox, limits, &mut log).unwrap();
        println!("layer {number}: {:?}", start.elapsed());
        assert_eq!(ended, Ended::Exited(0));
        let out = PathBuf::from(format!(
            "/tmp/layers/{}layer-{number}",
            std::env::var("TAG").unwrap_or_default()
        ));
        fs::copy(at("root").join("nix/store/out"), &out).unwrap();
        below = Some(out);
    }
}
