//! Log records go to the kernel's log (`/dev/kmsg`, printk(9) priorities), where the journal of the real root finds them.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use log::{Level, LevelFilter, Metadata, Record};

/// Writes records as `<priority>keel: text`.
struct KernelLog(File);

impl log::Log for KernelLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // One write is one record; a full or absent log must not stop the boot.
            let _ = (&self.0).write_all(line(record.level(), &record.args().to_string()).as_bytes());
        }
    }

    fn flush(&self) {}
}

fn line(level: Level, text: &str) -> String {
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    // The kernel cuts records at about 1 KiB; a line feed would end the record.
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(900)
        .collect();
    format!("<{priority}>keel: {text}\n")
}

/// Sends records of `level` and above to the kernel log at `device`.
pub(super) fn to_kernel_log(device: &Path, level: LevelFilter) -> io::Result<()> {
    let file = File::options().write(true).open(device)?;
    log::set_boxed_logger(Box::new(KernelLog(file))).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_with_a_priority() {
        assert_eq!(line(Level::Warn, "two\nlines"), "<4>keel: two lines\n");
    }
}
