//! `keel.shell`: a root shell in early boot, with the parameter and in an image that has one; never without either.

use std::path::Path;

use anyhow::Result;

use super::bench::{Bench, SHELL_AS_INIT, TO_PROMPT, TO_SHELL, same, says};
use crate::disk::Disk;
use crate::guest::COMMAND;
use crate::layout::Layout;
use crate::machine::Machine;
use crate::texts;

/// The prompt of the shell.
const PROMPT: &str = "keel initrd #";
/// What the menu of a trouble says of it.
const OFFER: &str = "a root shell on this console";
/// A boot that doesn't find its root, and asks for nothing before.
const NO_ROOT: &str = "rd.luks=no root=LABEL=nosuch";

/// With both, without the parameter, without the program.
pub(super) fn shell(bench: &mut Bench<'_>) -> Result<()> {
    let disks = bench.disks(Layout::Main)?;
    let modules = bench.made.systems.modules.clone();
    let [with, without] = ["with", "without"].map(|name| bench.directory.join(name));
    let keel = bench.made.keel.clone();
    keel.initrd_of(&modules, &["--set=common", "--shell"], &with)?;
    keel.initrd_of(&modules, &["--set=common"], &without)?;

    on_request(bench, &disks, &with)?;
    in_trouble(bench, &disks, &with)?;
    never_without_parameter(bench, &disks, &with)?;

    let machine = machine(bench, &disks, &without, "without")?
        .with("keel.shell=start")
        .boot()?;
    let said = machine
        .console
        .expect(texts::PASSPHRASE_PROMPT, TO_PROMPT)?
        .before;
    bench.check("an image without a shell says so, and offers none", || {
        says(&said, "keel.shell is ignored: this initrd has no shell")?;
        same(
            "whether it's offered",
            &said.contains("keel.shell=start:"),
            &false,
        )
    });
    machine.cut_power();
    Ok(())
}

/// The machine with another initrd.
fn machine(bench: &Bench<'_>, disks: &[Disk], initrd: &Path, log_name: &str) -> Result<Machine> {
    let mut machine = bench.without_menu(Layout::Main, disks, log_name)?;
    machine.set_initrd(initrd);
    Ok(machine)
}

fn on_request(bench: &mut Bench<'_>, disks: &[Disk], initrd: &Path) -> Result<()> {
    let mut machine = machine(bench, disks, initrd, "request")?
        .with("keel.shell=start,hand-off")
        .with(SHELL_AS_INIT)
        .boot()?;
    let _ = machine
        .console
        .expect("keel.shell=start: s for a root shell", TO_PROMPT)?;
    machine.console.send_line("s")?;
    let _ = machine.console.expect(PROMPT, COMMAND)?;
    machine
        .console
        .send_line("echo \"user=$(id -u)\" \"parent=$(tr '\\0' ' ' </proc/$PPID/cmdline)\"; tty")?;
    let said = machine.console.expect(PROMPT, COMMAND)?.before;
    bench.check("keel.shell=start gives a root shell of early boot", || {
        says(&said, "user=0")?;
        says(&said, "parent=/init")?;
        says(&said, "/dev/ttyS0")
    });
    machine.console.send_line("exit")?;
    let _ = machine.console.expect("keel.shell=start:", COMMAND)?;
    machine.console.send_line("")?;
    machine.unlock()?;
    let _ = machine.console.expect("keel.shell=hand-off:", TO_SHELL)?;
    machine.console.send_line("")?;
    let mut shell = machine.shell()?;
    let report = shell.boot_report()?;
    bench.check("the boot goes on after it, and the report names it", || {
        says(&report.warnings.join("\n"), "a root shell was started on ttyS0")
    });
    machine.cut_power();
    Ok(())
}

fn in_trouble(bench: &mut Bench<'_>, disks: &[Disk], initrd: &Path) -> Result<()> {
    let machine = machine(bench, disks, initrd, "trouble")?
        .with(NO_ROOT)
        .with("keel.shell")
        .boot()?;
    let menu = machine.console.expect(texts::WHAT_NOW, TO_PROMPT)?.before;
    machine.console.send_line("s")?;
    let _ = machine.console.expect(PROMPT, COMMAND)?;
    machine.console.send_line("exit")?;
    let again = machine.console.expect(texts::WHAT_NOW, COMMAND);
    bench.check(
        "keel.shell offers one when the root is missing, and the menu comes back",
        || {
            says(&menu, OFFER)?;
            again.map(drop)
        },
    );
    machine.cut_power();
    Ok(())
}

fn never_without_parameter(bench: &mut Bench<'_>, disks: &[Disk], initrd: &Path) -> Result<()> {
    let machine = machine(bench, disks, initrd, "no-parameter")?
        .with(NO_ROOT)
        .boot()?;
    let menu = machine.console.expect(texts::WHAT_NOW, TO_PROMPT)?.before;
    machine.console.send_line("s")?;
    let answer = machine.console.expect_any(&[texts::WHAT_NOW, PROMPT], COMMAND);
    bench.check("an image with a shell gives none without the parameter", || {
        same("whether it's offered", &menu.contains(OFFER), &false)?;
        let _ = answer?;
        same(
            "whether there is one",
            &machine.console.everything().contains(PROMPT),
            &false,
        )
    });
    machine.cut_power();
    Ok(())
}
