//! The systemd client against a real systemd: jobs, deadlines, and connections that get lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod machine;

use std::fs;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use keel::systemd::{Error, Manager, Mode, Outcome, PRIVATE_SOCKET, Patience, RefusalKind, Verb};
use machine::{WAITS_FOR_GO, inside, manager_with, outcome, refusal, soon, wait_until};

#[test]
fn jobs_end_as_their_units_do() {
    inside("jobs_end_as_their_units_do", || {
        let mut manager = manager_with(&[
            (
                "good.service",
                "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n",
            ),
            ("bad.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n"),
            (
                "needs-bad.service",
                "[Unit]\nRequires=bad.service\nAfter=bad.service\n[Service]\nExecStart=/bin/true\n",
            ),
            (
                "slow.service",
                "[Service]\nType=oneshot\nTimeoutStartSec=1\nExecStart=/bin/sleep infinity\n",
            ),
            (
                "slower.service",
                "[Unit]\nJobRunningTimeoutSec=1\n[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\n",
            ),
            (
                "assert.service",
                "[Unit]\nAssertPathExists=/nonexistent\n[Service]\nExecStart=/bin/true\n",
            ),
            (
                "manual.service",
                "[Unit]\nRefuseManualStart=yes\n[Service]\nExecStart=/bin/true\n",
            ),
            ("broken.service", "[Service]\n"),
        ]);
        std::os::unix::fs::symlink("/dev/null", "/etc/systemd/system/masked.service").unwrap();
        manager.daemon_reload(soon()).unwrap();

        for (verb, unit, expected) in [
            (Verb::TryRestart, "good.service", Outcome::Done),
            (Verb::Reload, "good.service", Outcome::Invalid),
            (Verb::Start, "good.service", Outcome::Done),
            (Verb::Start, "good.service", Outcome::Done),
            (Verb::Reload, "good.service", Outcome::Done),
            (Verb::ReloadOrRestart, "good.service", Outcome::Done),
            (Verb::ReloadOrTryRestart, "good.service", Outcome::Done),
            (Verb::Restart, "good.service", Outcome::Done),
            (Verb::Stop, "good.service", Outcome::Done),
            (Verb::Start, "bad.service", Outcome::Failed),
            (Verb::Start, "needs-bad.service", Outcome::Dependency),
            (Verb::Start, "slow.service", Outcome::Failed),
            (Verb::Start, "slower.service", Outcome::Timeout),
            (Verb::Start, "assert.service", Outcome::Assert),
        ] {
            assert_eq!(outcome(&mut manager, verb, unit), expected, "{verb} {unit}");
        }
        for (unit, expected) in [
            ("nonesuch.service", RefusalKind::NoSuchUnit),
            ("masked.service", RefusalKind::UnitMasked),
            ("manual.service", RefusalKind::OnlyByDependency),
            ("broken.service", RefusalKind::BadUnit),
        ] {
            let error = manager.run(Verb::Start, unit, soon()).unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("StartUnit {unit}: systemd refuses: ")),
                "{error}"
            );
            assert_eq!(refusal(&error), expected, "{unit}");
        }

        let bad = manager.unit("bad.service").unwrap();
        assert_eq!(
            (bad.active_state.as_str(), bad.result.as_str()),
            ("failed", "exit-code")
        );
        assert_eq!(bad.exec_main_status, 1);
        manager.reset_failed("bad.service").unwrap();
        assert_eq!(manager.unit("bad.service").unwrap().active_state, "inactive");
        let slow = manager.unit("slow.service").unwrap();
        assert_eq!(
            (slow.active_state.as_str(), slow.result.as_str()),
            ("failed", "timeout")
        );
        manager.reset_failed_all().unwrap();
        assert_eq!(manager.unit("slow.service").unwrap().active_state, "inactive");
    });
}

#[test]
fn hundreds_of_jobs_at_once_all_end() {
    inside("hundreds_of_jobs_at_once_all_end", || {
        let mut manager = manager_with(&[
            (
                "ok@.service",
                "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
            ),
            ("no@.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n"),
        ]);
        let units: Vec<String> = (0..150)
            .flat_map(|n| [format!("ok@{n}.service"), format!("no@{n}.service")])
            .collect();
        let mut jobs = manager.jobs();
        let refused = jobs.submit_all(
            Verb::Start,
            &[units.as_slice(), &["nonesuch.service".into()]].concat(),
            Mode::Replace,
        );
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].0, "nonesuch.service");
        let finished = jobs.wait(soon(), &mut |_| {});
        assert_eq!(finished.len(), units.len());
        for (unit, end) in units.iter().zip(&finished) {
            let expected = if unit.starts_with("ok") {
                Outcome::Done
            } else {
                Outcome::Failed
            };
            assert_eq!(
                (&end.job.unit, &end.outcome, end.inferred),
                (unit, &expected, false)
            );
        }
    });
}

#[test]
fn the_deadline_cancels_what_is_pending() {
    inside("the_deadline_cancels_what_is_pending", || {
        let mut manager = manager_with(&[
            (
                "stuck.service",
                "[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n",
            ),
            (
                "behind.service",
                "[Unit]\nRequires=stuck.service\nAfter=stuck.service\n[Service]\nExecStart=/bin/true\n",
            ),
            ("quick.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n"),
        ]);
        let mut told = Vec::new();
        let mut jobs = manager.jobs();
        jobs.set_patience(Patience {
            first: Duration::from_millis(200),
            again: Duration::from_millis(200),
        });
        for unit in [
            "stuck.service",
            "behind.service",
            "quick.service",
            "stuck.service",
        ] {
            jobs.submit(Verb::Start, unit, Mode::Replace).unwrap();
        }
        let finished = jobs.wait(Instant::now() + Duration::from_secs(2), &mut |pending| {
            told.push(pending.to_vec());
        });
        let outcomes: Vec<_> = finished
            .iter()
            .map(|end| (end.job.unit.as_str(), end.outcome.clone()))
            .collect();
        assert_eq!(
            outcomes,
            [
                ("stuck.service", Outcome::TimedOut),
                ("behind.service", Outcome::TimedOut),
                ("quick.service", Outcome::Done),
                ("stuck.service", Outcome::TimedOut),
            ]
        );
        let last = told.last().expect("progress was told");
        let queue = |unit: &str| {
            last.iter()
                .find(|job| job.unit == unit)
                .unwrap()
                .queue
                .clone()
                .unwrap()
        };
        assert_eq!(queue("stuck.service"), ("start".into(), "running".into()));
        assert_eq!(queue("behind.service"), ("start".into(), "waiting".into()));
        assert!(
            manager
                .list_units()
                .unwrap()
                .iter()
                .all(|unit| unit.job.is_none())
        );
    });
}

/// A socket before the manager's that can be cut.
struct Cut {
    open: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<UnixStream>>>,
}

impl Cut {
    fn before_the_manager(path: &str) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let cut = Self {
            open: Arc::new(AtomicBool::new(true)),
            streams: Arc::default(),
        };
        let (open, streams) = (Arc::clone(&cut.open), Arc::clone(&cut.streams));
        thread::spawn(move || {
            for client in listener.incoming().map(Result::unwrap) {
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let server = UnixStream::connect(PRIVATE_SOCKET).unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || io::copy(&mut from, &mut to));
                }
                streams.lock().unwrap().extend([client, server]);
            }
        });
        cut
    }

    fn cut(&self) {
        self.open.store(false, Ordering::SeqCst);
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

#[test]
fn ends_of_jobs_that_nobody_saw_are_found_out() {
    inside("ends_of_jobs_that_nobody_saw_are_found_out", || {
        let mut other = manager_with(&[
            ("good.service", WAITS_FOR_GO),
            ("bad.service", &WAITS_FOR_GO.replace("done'", "done; exit 1'")),
            ("later.service", &WAITS_FOR_GO.replace("/run/go", "/run/later")),
        ]);
        let cut = Cut::before_the_manager("/run/cut");
        let mut manager = Manager::connect_to(Path::new("/run/cut")).unwrap();
        let mut jobs = manager.jobs();
        jobs.set_patience(Patience {
            first: Duration::from_millis(50),
            again: Duration::from_mins(1),
        });
        let refused = jobs.submit_all(
            Verb::Start,
            &["good.service", "bad.service", "later.service"],
            Mode::Replace,
        );
        assert!(refused.is_empty());
        let finished = jobs.wait(soon(), &mut |_| {
            cut.cut();
            fs::write("/run/go", "").unwrap();
            wait_until(|| {
                let states = other.units(&["good.service", "bad.service"]).unwrap();
                states[0].active_state == "active" && states[1].active_state == "failed"
            });
            cut.mend();
            thread::spawn(|| {
                let mut third = Manager::connect().unwrap();
                wait_until(|| third.unit("later.service").unwrap().active_state == "activating");
                fs::write("/run/later", "").unwrap();
            });
        });
        let outcomes: Vec<_> = finished
            .iter()
            .map(|end| (end.outcome.clone(), end.inferred))
            .collect();
        assert_eq!(outcomes[..2], [(Outcome::Done, true), (Outcome::Failed, true)]);
        assert_eq!(outcomes[2].0, Outcome::Done);
    });
}

#[test]
fn a_manager_that_stays_away_is_given_up_at_the_deadline() {
    inside("a_manager_that_stays_away_is_given_up_at_the_deadline", || {
        drop(manager_with(&[("wait.service", WAITS_FOR_GO)]));
        let cut = Cut::before_the_manager("/run/cut");
        let mut manager = Manager::connect_to(Path::new("/run/cut")).unwrap();
        let mut jobs = manager.jobs();
        jobs.submit(Verb::Start, "wait.service", Mode::Replace).unwrap();
        cut.cut();
        let finished = jobs.wait(Instant::now() + Duration::from_millis(500), &mut |_| {});
        assert_eq!(finished[0].outcome, Outcome::Lost);
        let error = manager
            .daemon_reload(Instant::now() + Duration::from_millis(200))
            .unwrap_err();
        assert!(
            matches!(error, Error::Handshake { .. } | Error::Connect { .. }),
            "{error}"
        );
    });
}
