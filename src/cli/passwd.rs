//! `keel passwd`: the first password of a user that the configuration declares.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::output::errln;
use super::rehearse::asked;
use crate::store::files;
use crate::sys::random;
use crate::system::make::accounts::PASSWORDS;

/// Hashes standard input: Debian's perl-base is essential, and its crypt(3) is the system's own.
const HASH: &str = "chomp(my $p = <STDIN>); print crypt($p, $ARGV[0]) // ''";
/// yescrypt with the cost of Debian's own passwd(1).
const METHOD: &str = "$y$j9T$";
/// Characters of crypt(3)'s base 64.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a salt: 16 bytes, six bits in each character.
const SALT: usize = 22;
/// The last character holds what is left of them, two bits; crypt(3) refuses a salt with more.
const LAST: u8 = 3;

/// Set the password that a declared user begins with
///
/// It's asked for, hashed, and kept on this machine, not in the store. It counts when the account is made; a user that is
/// there already gets a new password by passwd(1).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The user.
    user: String,
    /// Where the machine's root file system is mounted.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Runs the verb.
pub(super) fn run(args: &Args) -> Result<u8> {
    let user = &args.user;
    if user.is_empty() || user.starts_with(['-', '.']) || user.contains(['/', ':', '\n']) {
        bail!("'{user}' is no name of a user");
    }
    if is_there(&args.root, user) {
        return existing(args);
    }
    let password = asked(&format!("First password of {user}: "))?;
    if std::io::stdin().is_terminal() && *asked("Once more: ")? != *password {
        bail!("they differ; nothing was written");
    }
    if password.is_empty() || password.contains(&0) {
        bail!("an empty password isn't taken");
    }
    let hash = hash(&password)?;
    let directory = args.root.join(PASSWORDS.trim_start_matches('/'));
    std::fs::create_dir_all(&directory)
        .and_then(|()| {
            std::fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        })
        .with_context(|| format!("{} can't be made", directory.display()))?;
    let path = directory.join(user);
    files::write_atomically(&path, format!("{hash}\n").as_bytes(), 0o600)
        .with_context(|| format!("{} can't be written", path.display()))?;
    errln!("keel: {user} begins with this password when the account is made (switch or boot)");
    Ok(0)
}

fn is_there(root: &Path, user: &str) -> bool {
    let text = std::fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    text.lines().any(|line| line.split(':').next() == Some(user))
}

/// A user that is there has a password, or is locked: passwd(1) changes that.
fn existing(args: &Args) -> Result<u8> {
    let mut command = Command::new("passwd");
    if args.root != Path::new("/") {
        let _command = command.arg("--root").arg(&args.root);
    }
    let status = command
        .arg(&args.user)
        .status()
        .context("passwd can't be run (Debian: package passwd)")?;
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

fn hash(password: &[u8]) -> Result<String> {
    let mut bytes = [0; SALT];
    random::fill(&mut bytes).context("the kernel gives no random bytes")?;
    if let Some(last) = bytes.last_mut() {
        *last &= LAST;
    }
    let salt: String = bytes
        .iter()
        .filter_map(|byte| DIGITS.get(usize::from(byte & 63)))
        .map(|digit| char::from(*digit))
        .collect();
    let mut child = Command::new("perl")
        .args(["-e", HASH, &format!("{METHOD}{salt}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("perl, which hashes the password, can't be run (Debian: package perl-base)")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(password).context("perl takes no password")?;
    }
    let output = child.wait_with_output().context("perl")?;
    let hash = String::from_utf8(output.stdout).unwrap_or_default();
    if !hash.starts_with(METHOD) || hash.len() < METHOD.len() + SALT {
        bail!("perl's crypt() can't make a yescrypt hash on this machine");
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_hash_is_of_the_password_and_salted() {
        // Several: crypt(3) refuses some salts.
        let hashes: Vec<_> = (0..8).map(|_| hash(b"pass word").unwrap()).collect();
        let (one, other) = (&hashes[0], &hashes[1]);
        assert_ne!(one, other);
        let again = Command::new("perl")
            .args(["-e", "print crypt($ARGV[0], $ARGV[1])", "pass word", one])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(again.stdout).unwrap(), *one);
    }
}
