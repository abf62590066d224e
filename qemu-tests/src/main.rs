//! The end-to-end suite of keel: machines in QEMU, their disks, and the scenarios that run on them.

mod ansi;
mod archive;
mod builder;
mod builder_initrd;
mod console;
mod disk;
mod guest;
mod image_cache;
mod layout;
mod machine;
mod process;
mod qmp;
mod rootfs;
mod texts;

fn main() -> anyhow::Result<()> {
    let t = std::time::Instant::now();
    let cache = image_cache::Cache::open()?;
    let r = rootfs::root_file_systems(&cache)?;
    let dir = std::path::absolute("target/qemu-tests/try")?;
    std::fs::create_dir_all(&dir)?;
    let c = builder::Contents {
        root: dir.join("root.ext4"),
        esp: dir.join("esp.tar"),
    };
    let l = match std::env::args().nth(1).unwrap_or_default().as_str() {
        "striped" => layout::Layout::Striped,
        "4k" => layout::Layout::LargeBlocks,
        "lol" => layout::Layout::LuksOnLvm,
        _ => layout::Layout::Main,
    };
    let d = builder::build(l, &c, &r, &dir, &dir)?;
    println!("{} {:?}", d.tables()?, t.elapsed());
    Ok(())
}
