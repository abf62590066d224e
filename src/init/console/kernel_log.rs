//! Which of the kernel's messages reach the consoles.

use std::fs;
use std::path::{Path, PathBuf};

/// While a prompt is shown only messages of a dying machine (level 0) may tear it; all are kept in the kernel's log.
const WHILE_ASKING: u32 = 1;

/// The console's log level, `/proc/sys/kernel/printk` (proc_sys_kernel(5)). That file, rather than syslog(2), because
/// it alone tells the level that is to be restored.
#[derive(Debug)]
pub(super) struct KernelLog {
    file: Option<PathBuf>,
    before: Option<u32>,
}

impl KernelLog {
    /// `printk` is `/proc/sys/kernel/printk`.
    pub(super) fn new(printk: &Path) -> Self {
        Self {
            file: Some(printk.to_owned()),
            before: None,
        }
    }

    /// Leaves the level alone: tests aren't to change that of the machine that they run on.
    #[cfg(test)]
    pub(super) fn untouched() -> Self {
        Self {
            file: None,
            before: None,
        }
    }

    /// Lowers the level until [`KernelLog::restore`]. Without `/proc` the prompt may be torn, nothing worse.
    pub(super) fn silence(&mut self) {
        let Some(file) = &self.file else { return };
        let level = fs::read_to_string(file).ok().and_then(|text| {
            text.split_ascii_whitespace()
                .next()
                .and_then(|first| first.parse().ok())
        });
        if let Some(level) = level.filter(|level| *level > WHILE_ASKING && self.before.is_none())
            && fs::write(file, WHILE_ASKING.to_string()).is_ok()
        {
            self.before = Some(level);
        }
    }

    pub(super) fn restore(&mut self) {
        if let (Some(file), Some(level)) = (&self.file, self.before.take()) {
            // A failure leaves a quiet console; the log itself is complete.
            let _ = fs::write(file, level.to_string());
        }
    }
}

impl Drop for KernelLog {
    fn drop(&mut self) {
        self.restore();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::KernelLog;
    use std::fs;

    #[test]
    fn lowers_and_restores() {
        let dir = tempfile::tempdir().unwrap();
        let printk = dir.path().join("printk");
        for (found, silenced, restored) in [
            ("7\t4\t1\t7\n", "1", "7"),
            ("1\t4\t1\t7\n", "1\t4\t1\t7\n", "1\t4\t1\t7\n"),
            ("x", "x", "x"),
        ] {
            fs::write(&printk, found).unwrap();
            let mut log = KernelLog::new(&printk);
            log.silence();
            assert_eq!(fs::read_to_string(&printk).unwrap(), silenced);
            log.silence();
            drop(log);
            assert_eq!(fs::read_to_string(&printk).unwrap(), restored);
        }
    }
}
