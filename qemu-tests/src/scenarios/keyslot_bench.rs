//! How long a keyslot takes to open, and how much memory, beside cryptsetup(8): the same header, natively, in turns.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::bench::Bench;
use crate::disk::make_sparse;
use crate::process::Tool;

/// How often each opens a header; the median counts.
const ROUNDS: usize = 5;
/// What argon2id is told to use.
const KIB: u64 = 1 << 20;
/// Bytes of the file with the header.
const BYTES: u64 = 20 << 20;

/// Who opens it.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Keel,
    Cryptsetup,
}

/// One opening.
#[derive(Clone, Copy, Debug)]
struct Opening {
    seconds: f64,
    /// Peak of the resident memory, in KiB.
    peak_kib: u64,
}

/// Headers of argon2id with 1 GiB, as cryptsetup makes them on machines with two and with four processors.
pub(super) fn keyslots(bench: &mut Bench<'_>) -> Result<()> {
    let key = bench.directory.join("key");
    fs::write(&key, "correct horse").context("the key can't be written")?;
    for lanes in [2, 4] {
        let image = bench.directory.join(format!("lanes-{lanes}.img"));
        format(&bench.directory, &image, &key, lanes)?;
        let mut openings: [Vec<Opening>; 2] = Default::default();
        for _ in 0..ROUNDS {
            for (subject, openings) in [Subject::Keel, Subject::Cryptsetup]
                .into_iter()
                .zip(&mut openings)
            {
                openings.push(open(bench, subject, &image, &key)?);
            }
        }
        for (name, openings) in ["keel", "cryptsetup"].into_iter().zip(openings) {
            let mut seconds: Vec<f64> = openings.iter().map(|opening| opening.seconds).collect();
            seconds.sort_by(f64::total_cmp);
            let median = seconds.get(ROUNDS / 2).copied().unwrap_or(f64::NAN);
            let peak = openings.iter().map(|opening| opening.peak_kib).max().unwrap_or(0);
            let figures = &bench.made.figures;
            let what = format!("argon2id 1 GiB, 4 passes, {lanes} lanes");
            figures.note(&format!("boot: opening a keyslot, {what}|{name}"), median, "s");
            #[allow(clippy::cast_precision_loss)] // some thousand KiB
            let beyond = peak.saturating_sub(KIB) as f64 / 1024.0;
            figures.note(
                &format!("boot: memory beyond the key derivation's, {what}|{name}"),
                beyond,
                "MiB",
            );
        }
        fs::remove_file(&image).context("a header can't be removed")?;
    }
    Ok(())
}

/// Makes a header. cryptsetup takes no more lanes than the machine has processors online, which it reads from a file.
fn format(directory: &Path, image: &Path, key: &Path, lanes: u32) -> Result<()> {
    make_sparse(image, BYTES)?;
    let online = directory.join("online");
    fs::write(&online, format!("0-{}\n", lanes - 1)).context("a list of processors can't be written")?;
    let script = "mount --bind \"$1\" /sys/devices/system/cpu/online; shift; exec cryptsetup \"$@\"";
    Tool::new("unshare")
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(&online)
        .args([
            "luksFormat",
            "--batch-mode",
            "--type",
            "luks2",
            "--pbkdf",
            "argon2id",
        ])
        .args([
            "--pbkdf-memory",
            &KIB.to_string(),
            "--pbkdf-force-iterations",
            "4",
        ])
        .args(["--pbkdf-parallel", &lanes.to_string(), "--key-file"])
        .arg(key)
        .arg(image)
        .run()?;
    let dump = Tool::new("cryptsetup").arg("luksDump").arg(image).output()?;
    let threads = format!("Threads:    {lanes}");
    if !dump.contains(&threads) {
        bail!("cryptsetup makes another header than it's asked for:\n{dump}");
    }
    Ok(())
}

fn open(bench: &Bench<'_>, subject: Subject, image: &Path, key: &Path) -> Result<Opening> {
    let peak: PathBuf = bench.directory.join("peak");
    let tool = Tool::new("time")
        .args(["--quiet", "--format=%M", "--output"])
        .arg(&peak);
    let tool = match subject {
        Subject::Keel => tool
            .arg(&bench.made.keel.keel)
            .args(["rehearse", "--json", "--passphrase-file"])
            .arg(key)
            .arg("--device"),
        Subject::Cryptsetup => tool
            .args(["cryptsetup", "open", "--test-passphrase", "--key-file"])
            .arg(key),
    };
    let started = Instant::now();
    let output = tool.arg(image).finish()?;
    let seconds = started.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stdout);
    // keel finds no root in an empty volume, and says which keyslot opened it.
    let is_open = match subject {
        Subject::Keel => said.contains("\"keyslot_opened\": 0"),
        Subject::Cryptsetup => output.status.success(),
    };
    if !is_open {
        bail!(
            "{subject:?} doesn't open the keyslot: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let peak_kib = fs::read_to_string(&peak)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .context("time(1) says no peak")?;
    Ok(Opening { seconds, peak_kib })
}
