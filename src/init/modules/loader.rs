//! Loading modules in the background, each once, in parallel where their dependencies allow it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{CStr, CString};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::cmdline::ModuleParameters;
use super::describe::describe;
use super::explain::explain;
use super::lookup::{Found, Lookup};
use super::order::Order;
use super::table::{Module, Table};
use super::urgency::Urgency;
use crate::sys;

/// Each waits for a device's probe most of its time.
const WORKERS_MAX: usize = 4;

/// The end of loading any module waits for all probing that is under way, such as that of a SATA controller for its disks
/// (Linux, kernel/module/main.c, `do_init_module`). A module that drives nothing hasn't begun any, and needn't wait.
const WITHOUT_WAITING: &str = " async_probe";

/// Gives a module to the kernel.
pub trait Insert: Send + Sync + 'static {
    /// Returns when the module is initialised. `EEXIST` when it was already there.
    ///
    /// # Errors
    /// What open(2) and finit_module(2) say.
    fn insert(&self, path: &Path, parameters: &CStr) -> io::Result<()>;
}

struct Kernel;

impl Insert for Kernel {
    fn insert(&self, path: &Path, parameters: &CStr) -> io::Result<()> {
        sys::module::load(path, parameters)
    }
}

/// Loads modules on threads of its own. Dropping it waits for the loads that are under way and forgets the others.
pub struct Loader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    reader: PipeReader,
}

struct Shared {
    lookup: Lookup,
    /// From the command line, by module.
    options: BTreeMap<String, Vec<String>>,
    /// Modules that devices ask for.
    drivers: HashSet<usize>,
    /// `/lib/modules/<version>`
    directory: PathBuf,
    insert: Box<dyn Insert>,
    state: Mutex<State>,
    /// There is something to load, or nothing ever again.
    work: Condvar,
    /// A load has ended.
    ended: Condvar,
}

struct State {
    order: Order,
    loaded: Vec<(String, Duration)>,
    /// Names that stand for no module.
    missing: BTreeSet<String>,
    unmatched: Vec<String>,
    /// Modaliases that were looked up before: hundreds of devices have the same one.
    seen: HashSet<String>,
    writer: PipeWriter,
    /// A byte is in the pipe.
    signalled: bool,
    /// Nothing is to be begun yet.
    is_held: bool,
    stop: bool,
}

impl State {
    fn new(modules: Vec<Module>, writer: PipeWriter) -> State {
        State {
            order: Order::new(modules),
            loaded: Vec::new(),
            missing: BTreeSet::new(),
            unmatched: Vec::new(),
            seen: HashSet::new(),
            writer,
            signalled: false,
            is_held: false,
            stop: false,
        }
    }
}

impl Loader {
    /// Starts the threads. `directory` is `/lib/modules`.
    ///
    /// # Errors
    /// When there is no descriptor for a pipe, or no thread at all.
    pub fn start(
        table: Table,
        directory: impl Into<PathBuf>,
        parameters: &ModuleParameters,
    ) -> io::Result<Loader> {
        let workers = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(WORKERS_MAX);
        Loader::with(table, &directory.into(), parameters, Box::new(Kernel), workers)
    }

    fn with(
        table: Table,
        directory: &Path,
        parameters: &ModuleParameters,
        insert: Box<dyn Insert>,
        workers: usize,
    ) -> io::Result<Loader> {
        let (reader, writer) = io::pipe()?;
        let directory = directory.join(&table.kernel);
        let mut loader = Loader {
            shared: Arc::new(Shared {
                lookup: Lookup::new(&table, parameters),
                drivers: drivers(&table),
                options: parameters.options.clone(),
                directory,
                insert,
                state: Mutex::new(State::new(table.modules, writer)),
                work: Condvar::new(),
                ended: Condvar::new(),
            }),
            workers: Vec::new(),
            reader,
        };
        for _ in 0..workers {
            let shared = Arc::clone(&loader.shared);
            match thread::Builder::new()
                .name("modules".to_owned())
                .spawn(move || shared.serve())
            {
                Ok(handle) => loader.workers.push(handle),
                Err(error) if loader.workers.is_empty() => return Err(error),
                Err(error) => log::warn!("one thread less for loading modules: {error}"),
            }
        }
        Ok(loader)
    }

    /// Asks for all that is known to be needed at the start: the modules of devices, by their modaliases, what opens volumes,
    /// and the rest. Nothing is loaded before everything is asked for: a thread that has begun with something else can't be
    /// hurried.
    pub fn request_at_start(&self, modaliases: &[String], for_unlocking: &[&str], rest: &[&str]) {
        self.shared.lock().is_held = true;
        for modalias in modaliases {
            self.request_alias(modalias);
        }
        for (names, urgency) in [(for_unlocking, Urgency::Unlocking), (rest, Urgency::Rest)] {
            for name in names {
                self.request_named(name, urgency);
            }
        }
        let mut state = self.shared.lock();
        state.is_held = false;
        self.shared.ended_or_work(&mut state);
    }

    /// Asks for the modules of a device, by its modalias. Returns at once.
    pub fn request_alias(&self, modalias: &str) {
        let mut state = self.shared.lock();
        if !state.seen.insert(modalias.to_owned()) {
            return;
        }
        match self.shared.lookup.by_alias(modalias) {
            Found::Modules(indices) => self.request(state, &indices, Urgency::of(modalias)),
            Found::Blacklisted(names) => {
                state
                    .unmatched
                    .extend(describe(modalias).map(|text| format!("{text}; {names} is blacklisted")));
            }
            Found::Nothing => state.unmatched.extend(describe(modalias)),
            Found::Builtin => {}
        }
    }

    /// Asks for a module by its name or by an alias that is no device's (`fs-ext4`). Returns at once.
    pub fn request_name(&self, name: &str) {
        self.request_named(name, Urgency::Rest);
    }

    fn request_named(&self, name: &str, urgency: Urgency) {
        let mut state = self.shared.lock();
        let found = self.shared.lookup.by_name(name);
        let missing = match found {
            Found::Modules(indices) => return self.request(state, &indices, urgency),
            Found::Builtin => return,
            Found::Blacklisted(names) => format!("{name}: {names} is blacklisted"),
            Found::Nothing => format!("{name}: neither in this initrd image nor built into its kernel"),
        };
        let _ = state.missing.insert(missing);
    }

    /// Loads a module by its name or an alias, if there is one: nothing is missed without it.
    pub fn request_if_there(&self, name: &str) {
        if let Found::Modules(indices) = self.shared.lookup.by_name(name) {
            self.request(self.shared.lock(), &indices, Urgency::Rest);
        }
    }

    fn request(&self, mut state: MutexGuard<'_, State>, indices: &[usize], urgency: Urgency) {
        let idle = state.order.is_idle();
        for index in indices {
            state.order.request(*index, urgency);
        }
        if idle && !state.order.is_idle() {
            // Otherwise the end of earlier loads would be taken for the end of these.
            self.drain(&mut state);
        }
        self.shared.ended_or_work(&mut state);
    }

    /// Readable when all that was asked for is loaded or has failed.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Makes [`Loader::poll_fd`] unreadable until the next loads have ended.
    pub fn acknowledge(&self) {
        self.drain(&mut self.shared.lock());
    }

    fn drain(&self, state: &mut State) {
        if std::mem::take(&mut state.signalled) {
            // There is exactly one byte in the pipe, so this doesn't block.
            if let Err(error) = (&self.reader).read(&mut [0]) {
                log::debug!("reading from the loader's pipe: {error}");
            }
        }
    }

    /// Whether all that was asked for is loaded or has failed.
    pub fn is_idle(&self) -> bool {
        self.shared.lock().order.is_idle()
    }

    /// Waits for that.
    pub fn wait_idle(&self) {
        self.wait_until(Order::is_idle);
    }

    /// Asks for modules by names or aliases before all others, and waits until they're loaded or have failed. What else was
    /// asked for may still be loading: a disk that nobody waits for takes its time.
    pub fn wait_for<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let wanted = self.hurry(names);
        self.wait_until(|order| wanted.iter().all(|index| order.is_settled(*index)));
    }

    /// Asks for modules by names or aliases before all others; nothing is missed without them. Gives their indices.
    pub fn hurry<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<usize> {
        let mut wanted = Vec::new();
        for name in names {
            if let Found::Modules(mut indices) = self.shared.lookup.by_name(name) {
                self.request(self.shared.lock(), &indices, Urgency::Now);
                wanted.append(&mut indices);
            }
        }
        wanted
    }

    fn wait_until(&self, is_reached: impl Fn(&Order) -> bool) {
        let mut state = self.shared.lock();
        while !is_reached(&state.order) {
            state = self
                .shared
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What couldn't be loaded and why, a line each.
    pub fn failures(&self) -> Vec<String> {
        let state = self.shared.lock();
        let failed = state
            .order
            .failures()
            .map(|(name, reason)| format!("{name}: {reason}"));
        failed.chain(state.missing.iter().cloned()).collect()
    }

    /// Devices that a disk or a keyboard may hang on and that nothing in the image drives, a line each.
    pub fn unmatched(&self) -> Vec<String> {
        self.shared.lock().unmatched.clone()
    }

    /// What has been loaded, in the order in which the loads ended, and how long each took.
    pub fn loaded(&self) -> Vec<(String, Duration)> {
        self.shared.lock().loaded.clone()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                log::warn!("a thread that loads modules panicked");
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn serve(&self) {
        let mut state = self.lock();
        while !state.stop {
            let next = if state.is_held { None } else { state.order.next() };
            let Some(index) = next else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let module = state.order.module(index).cloned().unwrap_or_default();
            drop(state);
            let start = Instant::now();
            let result = self.load(index, &module);
            let took = start.elapsed();
            state = self.lock();
            if result.is_ok() {
                state.loaded.push((module.name, took));
            }
            state.order.finish(index, result);
            self.ended.notify_all();
            self.ended_or_work(&mut state);
        }
    }

    /// Wakes whoever is concerned by a change of the order.
    fn ended_or_work(&self, state: &mut State) {
        if state.order.has_ready() && !state.is_held {
            self.work.notify_all();
        }
        if !state.order.is_idle() {
            return;
        }
        if !std::mem::replace(&mut state.signalled, true)
            && let Err(error) = state.writer.write_all(&[1])
        {
            state.signalled = false;
            log::warn!("the end of module loads can't be told: {error}");
        }
    }

    fn load(&self, index: usize, module: &Module) -> Result<(), String> {
        let mut parameters = vec![module.options.clone()];
        parameters.extend(
            self.options
                .get(&module.name)
                .into_iter()
                .flatten()
                .map(|option| quoted(option)),
        );
        parameters.retain(|parameter| !parameter.is_empty());
        let parameters = parameters.join(" ");
        let path = self.directory.join(&module.file);
        let also = if self.drivers.contains(&index) {
            ""
        } else {
            WITHOUT_WAITING
        };
        let c_parameters =
            CString::new(parameters.clone() + also).map_err(|_| "a NUL byte in its parameters".to_owned())?;
        match self.insert.insert(&path, &c_parameters) {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                Err(explain(&error, &path, &parameters))
            }
            _ => Ok(()),
        }
    }
}

/// Modules with an alias of a device: `BUS:…`. Others are libraries, ciphers, file systems.
fn drivers(table: &Table) -> HashSet<usize> {
    let is_device = |pattern: &str| pattern.contains(':') && !pattern.starts_with("devname:");
    let named = table.aliases.iter().filter(|(pattern, _)| is_device(pattern));
    named.map(|(_, index)| *index).collect()
}

/// A parameter from the command line, whose quotes are gone. The kernel splits at blanks outside quotes.
fn quoted(option: &str) -> String {
    match option.split_once('=') {
        Some((name, value)) if value.contains(char::is_whitespace) && !value.contains('"') => {
            format!("{name}=\"{value}\"")
        }
        _ => option.to_owned(),
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
