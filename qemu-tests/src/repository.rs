//! A mirror of Debian on the machine itself, as far as one package needs it: the signed indexes of the whole suite, and the
//! package's own file. It's served on loopback.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::archive;
use crate::process::Tool;
use crate::rootfs::write;

/// A package with alternatives and few needs.
pub(crate) const PACKAGE: &str = "figlet";
/// Where it's served.
pub(crate) const URI: &str = "http://127.0.0.1:8080/debian";
/// Serves it, until it's killed.
pub(crate) const SERVE: &str = "perl /srv/serve.pl";

/// Sections of the archive that the configuration of the machine names.
const COMPONENTS: [&str; 2] = ["main", "non-free-firmware"];

/// A web server of one process for each connection: what Debian's perl-base can do.
const SERVER: &str = r#"use IO::Socket::INET;
$SIG{CHLD} = 'IGNORE';
my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die $!;
while (1) {
    my $client = $server->accept or next;
    next if fork;
    local $/ = "\r\n";
    while (defined(my $request = <$client>)) {
        while (defined(my $header = <$client>)) { last if $header eq "\r\n"; }
        my ($path) = $request =~ m{^GET /([^ ]*) };
        $path =~ s/%([0-9a-fA-F]{2})/chr hex $1/ge;
        if ($path !~ m{\.\./} && -f "/srv/$path" && open(my $file, '<', "/srv/$path")) {
            printf $client "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", -s $file;
            while (read($file, my $bytes, 1 << 16)) { print $client $bytes; }
        } else {
            print $client "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        }
        $client->flush;
    }
    exit;
}
"#;

/// Puts the mirror onto the machine whose root is at `root`.
pub(crate) fn make(root: &Path) -> Result<()> {
    let mirror = archive::mirror()?;
    let mirror = mirror.trim_end_matches('/');
    let place = root.join("srv/debian");
    let fetch = |name: &str| -> Result<()> {
        let to = place.join(name);
        fs::create_dir_all(to.parent().unwrap_or(&place)).context("the repository can't be made")?;
        Tool::new("/usr/lib/apt/apt-helper")
            .arg("download-file")
            .arg(format!("{mirror}/{name}"))
            .arg(&to)
            .run()
    };
    let suite = archive::SUITE;
    fetch(&format!("dists/{suite}/InRelease"))?;
    for component in COMPONENTS {
        fetch(&format!("dists/{suite}/{component}/binary-amd64/Packages.xz"))?;
    }
    let index = place.join(format!("dists/{suite}/main/binary-amd64/Packages.xz"));
    let packages = Tool::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(&index)
        .output()?;
    let paragraph = packages
        .split("\n\n")
        .find(|paragraph| {
            paragraph
                .lines()
                .any(|line| line == format!("Package: {PACKAGE}"))
        })
        .with_context(|| format!("{suite} has no {PACKAGE}"))?;
    let file = paragraph
        .lines()
        .find_map(|line| line.strip_prefix("Filename: "))
        .with_context(|| format!("{PACKAGE} has no file"))?;
    fetch(file)?;
    write(&root.join("srv/serve.pl"), SERVER)
}
