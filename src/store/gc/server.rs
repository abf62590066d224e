//! The collector's socket: processes that need a path while garbage is collected say so here, and are answered once the
//! path is safe, or gone. Nix's protocol since 2.5: a path and a line end, answered by `1`.

use std::collections::HashSet;
use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::store::locks::{collector_socket, short_address};
use crate::store::{Layout, StorePath, files};

/// A longer line is no path.
const LINE_MAX: u64 = 4096 + 512;

#[derive(Debug, Default)]
struct State {
    // By their hash parts: what belongs to a path besides (its lock, say) shares it.
    roots: HashSet<String>,
    // Those that the collector has not looked at.
    new: Vec<String>,
    // What is being deleted right now.
    pending: HashSet<String>,
    clients: Vec<UnixStream>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    settled: Condvar,
    ended: AtomicBool,
    store_dir: String,
}

/// Listens until it's dropped. The lock on collection must be held meanwhile.
#[derive(Debug)]
pub(super) struct Server {
    shared: Arc<Shared>,
    directory: File,
    layout: Layout,
    listening: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(layout: &Layout) -> io::Result<Self> {
        let (path, name) = collector_socket(layout);
        std::fs::create_dir_all(&path)?;
        let socket = path.join(name);
        files::remove_file_if_there(&socket)?;
        let directory = File::open(&path)?;
        let listener = UnixListener::bind(short_address(&directory, name))?;
        // Whoever may use the store may announce what they use.
        std::fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
        let shared = Arc::new(Shared {
            store_dir: layout.store_dir().to_owned(),
            ..Shared::default()
        });
        let listening = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(&listener, &shared)
        });
        Ok(Self {
            shared,
            directory,
            layout: layout.clone(),
            listening: Some(listening),
        })
    }

    /// Chooses what is deleted next: `choose` is given the hash parts that were announced since, and returns the paths;
    /// nobody can announce one between its choice and its deletion. Each must be followed by [`Server::settle`].
    pub(super) fn choose(&self, choose: &mut dyn FnMut(Vec<String>) -> Vec<StorePath>) -> Vec<StorePath> {
        let mut state = self.shared.locked();
        let new = std::mem::take(&mut state.new);
        let chosen = choose(new);
        state.pending = chosen.iter().map(|path| path.hash_part().to_owned()).collect();
        chosen
    }

    /// What was chosen is deleted: those who wait for it may go on.
    pub(super) fn settle(&self) {
        self.shared.locked().pending.clear();
        self.shared.settled.notify_all();
    }

    /// Whether something with this hash part was announced.
    pub(super) fn is_root(&self, hash_part: &str) -> bool {
        self.shared.locked().roots.contains(hash_part)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let (path, name) = collector_socket(&self.layout);
        // Wakes the thread that listens.
        let _ignored = UnixStream::connect(short_address(&self.directory, name));
        if let Some(listening) = self.listening.take() {
            let _ignored = listening.join();
        }
        let _ignored = files::remove_file_if_there(&path.join(name));
        self.settle();
        // They notice, and find that the lock is free.
        for client in &self.shared.locked().clients {
            let _ignored = client.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, line: &str) {
        let path = line
            .strip_prefix(self.store_dir.as_str())
            .and_then(|rest| rest.strip_prefix('/'));
        let Some(path) = path.and_then(|base| StorePath::from_base_name(base).ok()) else {
            return;
        };
        let hash = path.hash_part();
        let mut state = self.locked();
        if state.roots.insert(hash.to_owned()) {
            state.new.push(hash.to_owned());
        }
        while state.pending.contains(hash) {
            state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn listen(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(own) = stream.try_clone() else { continue };
        shared.locked().clients.push(own);
        let shared = Arc::clone(shared);
        // They end with their client, or are cut off with the server.
        let _detached = std::thread::spawn(move || serve(&stream, &shared));
    }
}

fn serve(stream: &UnixStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line) {
            Ok(1..) if line.last() == Some(&b'\n') => {}
            // The end, or no line at all.
            _ => return,
        }
        shared.announce(String::from_utf8_lossy(&line).trim_end_matches('\n'));
        if (&*stream).write_all(b"1").is_err() {
            return;
        }
    }
}
