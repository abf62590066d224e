//! Many jobs at once, and waiting for their ends.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use zbus::OwnedObjectPath;

use super::call::{MANAGER, Request};
use super::client;
use super::error::Error;
use super::job::{Finished, Job, Mode, Outcome, Pending, Verb};
use super::link::Unanswered;
use super::manager::Manager;
use super::transient::Transient;

/// When the waiting caller is told what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// After this time without the end.
    pub first: Duration,
    /// And again after each of these.
    pub again: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(3),
            again: Duration::from_secs(10),
        }
    }
}

/// How long the manager may take to cancel jobs and to tell what became of others, once the deadline has passed.
const AFTERMATH: Duration = Duration::from_secs(5);
/// How long the look at the queue may take before the caller is told of what waits without it.
const GLANCE: Duration = Duration::from_secs(2);

/// `a(usssoo)` of `ListJobs`, one element: number, unit, type, state, path, path of the unit.
type JobRow = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);

/// Jobs that were submitted together and are waited for together.
pub struct Jobs<'m> {
    manager: &'m mut Manager,
    submitted: Vec<Job>,
    /// The ends seen so far, by the job's path. Two submissions may share a job: systemd merges them.
    ends: HashMap<String, End>,
    patience: Patience,
}

#[derive(Clone, Debug)]
struct End {
    outcome: Outcome,
    inferred: bool,
    at: Instant,
}

impl End {
    fn now(outcome: Outcome, inferred: bool) -> Self {
        Self {
            outcome,
            inferred,
            at: Instant::now(),
        }
    }
}

impl Manager {
    /// A set of jobs, empty as yet.
    pub fn jobs(&mut self) -> Jobs<'_> {
        // Signals are subscribed to since the connection was made, so no end of a job can be missed from here on.
        self.client.forget_jobs();
        Jobs {
            manager: self,
            submitted: Vec::new(),
            ends: HashMap::new(),
            patience: Patience::default(),
        }
    }

    /// One job from its submission to its end.
    ///
    /// # Errors
    /// When it isn't taken on. A job that fails is no error here, but an outcome.
    pub fn run(&mut self, verb: Verb, unit: &str, deadline: Instant) -> Result<Finished, Error> {
        let mut jobs = self.jobs();
        let job = jobs.submit(verb, unit, Mode::Replace)?;
        let finished = jobs.wait(deadline, &mut |_| {}).pop();
        finished.ok_or(Error::Lost {
            call: format!("{} {}", verb.method(), job.unit),
        })
    }
}

impl Jobs<'_> {
    /// Sets when the progress of a wait is told.
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// Submits a job.
    ///
    /// # Errors
    /// When the manager refuses it, e.g. because there is no such unit.
    pub fn submit(&mut self, verb: Verb, unit: &str, mode: Mode) -> Result<Job, Error> {
        let request = request(verb, unit, mode)?;
        let deadline = self.manager.client.deadline();
        let path: OwnedObjectPath = self.manager.client.call(&request, deadline)?;
        Ok(self.add(verb, unit, &path))
    }

    /// Submits a job for each of `units`, all at once, and returns those that were refused.
    pub fn submit_all<N: AsRef<str>>(&mut self, verb: Verb, units: &[N], mode: Mode) -> Vec<(String, Error)> {
        let mut refused = Vec::new();
        let (mut names, mut requests) = (Vec::new(), Vec::new());
        for unit in units.iter().map(AsRef::as_ref) {
            match request(verb, unit, mode) {
                Ok(request) => {
                    names.push(unit);
                    requests.push(request);
                }
                Err(error) => refused.push((unit.to_owned(), error)),
            }
        }
        let deadline = self.manager.client.deadline();
        let answers = self.manager.client.exchange(&requests, deadline);
        for ((unit, request), answer) in names.into_iter().zip(&requests).zip(answers) {
            match answer.and_then(|answer| client::read::<OwnedObjectPath>(request, &answer)) {
                Ok(path) => drop(self.add(verb, unit, &path)),
                Err(error) => refused.push((unit.to_owned(), error)),
            }
        }
        refused
    }

    /// Makes a transient unit and starts it.
    ///
    /// # Errors
    /// When the manager refuses it, e.g. because a unit of that name exists.
    pub fn submit_transient(&mut self, unit: &Transient, mode: Mode) -> Result<Job, Error> {
        let request = unit.request(mode)?;
        let deadline = self.manager.client.deadline();
        let path: OwnedObjectPath = self.manager.client.call(&request, deadline)?;
        Ok(self.add(Verb::Start, unit.name(), &path))
    }

    /// Waits until every job has ended, and returns how, in the order of their submission. What hasn't ended at
    /// `deadline` is cancelled, which takes a moment more, and at most 5 s with a manager that doesn't answer.
    /// `progress` is called from time to time with what is still pending.
    ///
    /// A job whose end got lost with the connection is looked up in the manager's queue, and by the state of its unit.
    pub fn wait(mut self, deadline: Instant, progress: &mut dyn FnMut(&[Pending])) -> Vec<Finished> {
        let mut tell_at = Instant::now() + self.patience.first;
        while !self.pending().is_empty() && Instant::now() < deadline {
            if Instant::now() >= tell_at {
                let pending = self.look(deadline.min(Instant::now() + GLANCE));
                if !pending.is_empty() {
                    progress(&pending);
                }
                tell_at = Instant::now() + self.patience.again;
            }
            match self.manager.client.job_removed(deadline.min(tell_at)) {
                Ok(Some(removed)) => self.note(removed.path, Outcome::of(&removed.result)),
                Ok(None) => {}
                Err(Unanswered::Late | Unanswered::Closed) => self.reconnect(deadline),
            }
        }
        self.take_seen();
        if !self.pending().is_empty() {
            self.cancel();
        }
        self.report()
    }

    fn add(&mut self, verb: Verb, unit: &str, path: &OwnedObjectPath) -> Job {
        let job = Job {
            path: path.to_string(),
            unit: unit.to_owned(),
            verb,
            submitted: Instant::now(),
        };
        self.submitted.push(job.clone());
        job
    }

    fn pending(&self) -> Vec<Job> {
        self.submitted
            .iter()
            .filter(|job| !self.ends.contains_key(&job.path))
            .cloned()
            .collect()
    }

    /// The first end counts.
    fn note(&mut self, path: String, outcome: Outcome) {
        let _end = self.ends.entry(path).or_insert_with(|| End::now(outcome, false));
    }

    /// Takes the ends that came until now.
    fn take_seen(&mut self) {
        while let Ok(Some(removed)) = self.manager.client.job_removed(Instant::now()) {
            self.note(removed.path, Outcome::of(&removed.result));
        }
    }

    /// Asks for the queue. Jobs that have left it without a signal are concluded from their units.
    fn look(&mut self, deadline: Instant) -> Vec<Pending> {
        let Ok(queue) = self.queue(deadline) else {
            return self.describe(&HashMap::new());
        };
        // The signals of all jobs that weren't in the queue came before the queue did.
        self.take_seen();
        let gone: Vec<Job> = self
            .pending()
            .into_iter()
            .filter(|job| !queue.contains_key(&job.path))
            .collect();
        let names: Vec<&str> = gone.iter().map(|job| job.unit.as_str()).collect();
        match self.manager.units_until(&names, deadline) {
            Ok(units) => {
                for (job, unit) in gone.into_iter().zip(units) {
                    let outcome = Outcome::inferred(job.verb, &unit);
                    let _end = self
                        .ends
                        .entry(job.path)
                        .or_insert_with(|| End::now(outcome, true));
                }
            }
            Err(error) => log::debug!("can't tell yet what became of jobs: {error}"),
        }
        self.describe(&queue)
    }

    /// The manager's queue: type and state by path.
    fn queue(&mut self, deadline: Instant) -> Result<HashMap<String, (String, String)>, Error> {
        let request = MANAGER.call("ListJobs", "", &())?;
        let rows: Vec<JobRow> = self.manager.client.call(&request, deadline)?;
        Ok(rows
            .into_iter()
            .map(|(_id, _unit, kind, state, path, _)| (path.to_string(), (kind, state)))
            .collect())
    }

    fn describe(&self, queue: &HashMap<String, (String, String)>) -> Vec<Pending> {
        self.pending()
            .into_iter()
            .map(|job| Pending {
                queue: queue.get(&job.path).cloned(),
                elapsed: job.submitted.elapsed(),
                unit: job.unit,
                verb: job.verb,
            })
            .collect()
    }

    /// Connects again and looks what became of the jobs meanwhile. The client itself is patient with a manager that is
    /// away.
    fn reconnect(&mut self, deadline: Instant) {
        match self.manager.client.link(deadline) {
            Ok(_) => drop(self.look(deadline)),
            Err(error) => log::debug!("waiting for systemd: {error}"),
        }
    }

    /// Cancels what is pending.
    fn cancel(&mut self) {
        let pending = self.pending();
        let requests: Vec<Request> = pending
            .iter()
            .filter_map(|job| MANAGER.call("CancelJob", &job.unit, &job.id()?).ok())
            .collect();
        let deadline = Instant::now() + AFTERMATH;
        let mut answered = true;
        for result in self.manager.client.exchange(&requests, deadline) {
            match result {
                // No such job: it has just ended, and the signal of that came before.
                Ok(_) | Err(Error::Refused { .. }) => {}
                Err(error) => {
                    log::warn!("jobs are left in systemd's queue: {error}");
                    answered = false;
                }
            }
        }
        while let Ok(Some(removed)) = self.manager.client.job_removed(Instant::now()) {
            let outcome = match Outcome::of(&removed.result) {
                // The cancellation itself, and what follows from it for jobs that wait for the cancelled ones.
                Outcome::Canceled | Outcome::Dependency | Outcome::Collected => Outcome::TimedOut,
                other => other,
            };
            self.note(removed.path, outcome);
        }
        if answered {
            // Whatever has no end yet lost its signal with an earlier connection.
            let _pending = self.look(deadline);
        }
    }

    fn report(mut self) -> Vec<Finished> {
        let ends = std::mem::take(&mut self.ends);
        std::mem::take(&mut self.submitted)
            .into_iter()
            .map(|job| {
                let end = ends
                    .get(&job.path)
                    .cloned()
                    .unwrap_or_else(|| End::now(Outcome::Lost, true));
                let took = end.at.saturating_duration_since(job.submitted);
                Finished {
                    job,
                    outcome: end.outcome,
                    inferred: end.inferred,
                    took,
                }
            })
            .collect()
    }
}

fn request(verb: Verb, unit: &str, mode: Mode) -> Result<Request, Error> {
    let request = MANAGER.call(verb.method(), unit, &(unit, mode.as_str()))?;
    Ok(if verb.is_idempotent() {
        request
    } else {
        request.once()
    })
}
