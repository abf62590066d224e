//! The systemd client against a real systemd: units, reloads, transient units, the bus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

mod machine;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use keel::systemd::{Logind, Manager, Mode, Outcome, Patience, RefusalKind, ServiceType, Transient, Verb};
use machine::{WAITS_FOR_GO, inside, manager_with, outcome, refusal, soon, wait_until, write_unit};

#[test]
fn units_are_listed_with_what_a_switch_wants_to_know() {
    inside("units_are_listed_with_what_a_switch_wants_to_know", || {
        let mut manager = manager_with(&[
            (
                "a.service",
                "[Unit]\nDescription=One\nRefuseManualStop=yes\n[Service]\nExecStart=/bin/sleep infinity\n",
            ),
            ("a.service.d/x.conf", "[Service]\nExecReload=/bin/true\n"),
            ("b.socket", "[Socket]\nListenStream=/run/b\n"),
            ("b.service", "[Service]\nExecStart=/bin/true\n"),
        ]);
        assert!(
            manager
                .version()
                .unwrap()
                .starts_with(|c: char| c.is_ascii_digit())
        );
        assert_eq!(outcome(&mut manager, Verb::Start, "a.service"), Outcome::Done);
        assert_eq!(outcome(&mut manager, Verb::Start, "b.socket"), Outcome::Done);

        let listed = manager.list_units().unwrap();
        let a = listed.iter().find(|unit| unit.name == "a.service").unwrap();
        assert_eq!(
            (a.description.as_str(), a.active.as_str(), a.sub.as_str()),
            ("One", "active", "running")
        );
        assert_eq!(a.path, "/org/freedesktop/systemd1/unit/a_2eservice");
        assert_eq!(a.job, None);

        // All units at once, and one that doesn't exist.
        let mut names: Vec<String> = listed.into_iter().map(|unit| unit.name).collect();
        names.extend((0..200).map(|n| format!("missing-{n}.service")));
        let units = manager.units(&names).unwrap();
        for (name, unit) in names.iter().zip(&units) {
            assert!(unit.names.contains(name), "{name}: {unit:?}");
        }
        assert!(units.last().unwrap().is_missing());
        let b = manager.unit("b.service").unwrap();
        assert_eq!(b.triggered_by, ["b.socket"]);

        let a = manager.unit("a.service").unwrap();
        assert_eq!(a.id, "a.service");
        assert_eq!(a.fragment_path, "/etc/systemd/system/a.service");
        assert_eq!(a.drop_in_paths, ["/etc/systemd/system/a.service.d/x.conf"]);
        assert!(
            a.is_up() && a.can_reload && a.refuse_manual_stop && !a.refuse_manual_start && a.main_pid > 1
        );
        assert_eq!(a.invocation_id.len(), 32);
        assert!(a.active_enter_usec > 0 && a.unit_file_state == "static" && !a.need_daemon_reload);
        assert_eq!(manager.unit_of_process(a.main_pid).unwrap(), "a.service");
        let stop = manager.run(Verb::Stop, "a.service", soon()).unwrap_err();
        assert_eq!(refusal(&stop), RefusalKind::OnlyByDependency);

        write_unit("a.service", "[Service]\nExecStart=/bin/sleep 1d\n");
        assert!(manager.unit("a.service").unwrap().need_daemon_reload);
        manager.daemon_reload(soon()).unwrap();
        assert!(!manager.unit("a.service").unwrap().need_daemon_reload);
    });
}

#[test]
fn reexecution_is_seen_and_survived() {
    inside("reexecution_is_seen_and_survived", || {
        let mut manager = manager_with(&[("wait.service", WAITS_FOR_GO)]);
        for _ in 0..3 {
            let done = manager.daemon_reexec(soon()).unwrap();
            assert_eq!(done.from, done.to);
            assert_eq!(manager.version().unwrap(), done.to);
            manager.daemon_reload(soon()).unwrap();
        }
        // Another connection makes the manager execute itself anew while this one waits for a job.
        let mut jobs = manager.jobs();
        jobs.set_patience(Patience {
            first: Duration::from_millis(50),
            again: Duration::from_mins(1),
        });
        jobs.submit(Verb::Start, "wait.service", Mode::Replace).unwrap();
        let mut tellings = 0;
        let finished = jobs.wait(soon(), &mut |pending| {
            assert_eq!(pending[0].unit, "wait.service");
            tellings += 1;
            Manager::connect().unwrap().daemon_reexec(soon()).unwrap();
            fs::write("/run/go", "").unwrap();
        });
        assert_eq!(tellings, 1);
        assert_eq!(finished[0].outcome, Outcome::Done);
        // And while this one is idle, or makes calls.
        Manager::connect().unwrap().daemon_reexec(soon()).unwrap();
        let other = thread::spawn(|| Manager::connect().unwrap().daemon_reexec(soon()).unwrap());
        while !other.is_finished() {
            assert!(manager.unit("wait.service").unwrap().is_up());
        }
        assert_eq!(outcome(&mut manager, Verb::Stop, "wait.service"), Outcome::Done);
    });
}

#[test]
fn a_full_run_is_named_as_what_forbids_a_reload() {
    inside("a_full_run_is_named_as_what_forbids_a_reload", || {
        let mut manager = manager_with(&[]);
        let remount = |size: &str| {
            Command::new("mount")
                .args(["-o", size, "/run"])
                .status()
                .unwrap()
                .success()
        };
        assert!(remount("remount,size=4M"));
        let error = manager.daemon_reload(soon()).unwrap_err();
        assert_eq!(refusal(&error), RefusalKind::RunIsFull, "{error}");
        let error = manager.daemon_reexec(soon()).unwrap_err();
        assert_eq!(refusal(&error), RefusalKind::RunIsFull, "{error}");
        assert!(error.to_string().contains("make room in /run"), "{error}");
        assert!(remount("remount,size=100M"));
        manager.daemon_reload(soon()).unwrap();
    });
}

#[test]
fn transient_units_run_at_once_and_by_timers() {
    inside("transient_units_run_at_once_and_by_timers", || {
        let mut manager = manager_with(&[]);
        let mut jobs = manager.jobs();
        let writes = Transient::service("writes.service", ["/bin/sh", "-c", "echo \"$WORD\" >/run/word"])
            .description("Writes a word")
            .service_type(ServiceType::Oneshot)
            .environment(["WORD=kept as it is: $x %n"])
            .output("null")
            .no_default_dependencies()
            .ignore_on_isolate()
            .kill_mode("mixed")
            .stop_timeout(Duration::from_secs(5))
            .remain_after_exit();
        jobs.submit_transient(&writes, Mode::Fail).unwrap();
        let again = jobs.submit_transient(&writes, Mode::Fail).unwrap_err();
        assert_eq!(refusal(&again), RefusalKind::UnitExists);
        assert_eq!(jobs.wait(soon(), &mut |_| {})[0].outcome, Outcome::Done);
        assert_eq!(fs::read_to_string("/run/word").unwrap(), "kept as it is: $x %n\n");
        assert_eq!(manager.unit("writes.service").unwrap().sub_state, "exited");
        assert_eq!(outcome(&mut manager, Verb::Stop, "writes.service"), Outcome::Done);
        assert!(
            manager
                .list_units()
                .unwrap()
                .iter()
                .all(|unit| unit.name != "writes.service")
        );

        let timer = Transient::service("later.service", ["/bin/touch", "/run/later"])
            .service_type(ServiceType::Oneshot)
            .after(Duration::from_millis(300));
        let mut jobs = manager.jobs();
        jobs.submit_transient(&timer, Mode::Fail).unwrap();
        assert_eq!(jobs.wait(soon(), &mut |_| {})[0].outcome, Outcome::Done);
        wait_until(|| Path::new("/run/later").exists());
        wait_until(|| {
            manager
                .list_units()
                .unwrap()
                .iter()
                .all(|unit| !unit.name.starts_with("later."))
        });

        // A timer that is stopped in time takes its service along.
        let never =
            Transient::service("never.service", ["/bin/touch", "/run/never"]).after(Duration::from_hours(1));
        let mut jobs = manager.jobs();
        jobs.submit_transient(&never, Mode::Fail).unwrap();
        assert_eq!(jobs.wait(soon(), &mut |_| {})[0].outcome, Outcome::Done);
        assert_eq!(manager.unit("never.timer").unwrap().triggers, ["never.service"]);
        assert_eq!(outcome(&mut manager, Verb::Stop, "never.timer"), Outcome::Done);
        wait_until(|| {
            manager
                .list_units()
                .unwrap()
                .iter()
                .all(|unit| !unit.name.starts_with("never."))
        });

        let fails = Transient::service("fails.service", ["/bin/false"])
            .service_type(ServiceType::Oneshot)
            .keep_when_failed();
        let mut jobs = manager.jobs();
        jobs.submit_transient(&fails, Mode::Fail).unwrap();
        assert_eq!(jobs.wait(soon(), &mut |_| {})[0].outcome, Outcome::Failed);
        assert_eq!(manager.unit("fails.service").unwrap().active_state, "failed");
        manager.reset_failed("fails.service").unwrap();
        wait_until(|| manager.unit("fails.service").unwrap().is_missing());
    });
}

#[test]
fn the_system_bus_serves_as_well() {
    inside("the_system_bus_serves_as_well", || {
        assert!(Logind::connect().err().unwrap().is_absent());
        let mut private = manager_with(&[
            (
                "dbus.socket",
                "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/dbus/system_bus_socket\n",
            ),
            (
                "dbus.service",
                "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\nType=notify\n\
                 ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile\n",
            ),
            (
                "systemd-logind.service",
                "[Unit]\nAfter=dbus.service\n[Service]\nType=notify\nRuntimeDirectory=systemd/sessions systemd/seats systemd/users systemd/inhibit\nExecStart=/lib/systemd/systemd-logind\n",
            ),
            (
                "user@.service",
                "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
            ),
            (
                "user-runtime-dir@.service",
                "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
            ),
            ("wait.service", WAITS_FOR_GO),
        ]);
        assert_eq!(outcome(&mut private, Verb::Start, "dbus.service"), Outcome::Done);
        // PID 1 takes its name on the bus a little after the bus is up.
        wait_until(|| Manager::connect_bus().is_ok());
        let mut manager = Manager::connect_bus().unwrap();
        assert_eq!(manager.version().unwrap(), private.version().unwrap());

        let error = Logind::connect().unwrap().list_inhibitors().unwrap_err();
        assert!(error.is_absent(), "{error}");

        assert_eq!(
            outcome(&mut manager, Verb::Start, "systemd-logind.service"),
            Outcome::Done
        );
        let mut logind = Logind::connect().unwrap();
        let held = Transient::service(
            "held.service",
            [
                "/usr/bin/systemd-inhibit",
                "--what=shutdown:sleep",
                "--who=me",
                "--why=a reason",
                "/bin/sleep",
                "infinity",
            ],
        );
        let mut jobs = manager.jobs();
        jobs.submit_transient(&held, Mode::Fail).unwrap();
        assert_eq!(jobs.wait(soon(), &mut |_| {})[0].outcome, Outcome::Done);
        wait_until(|| !logind.list_inhibitors().unwrap().is_empty());
        let inhibitor = logind.list_inhibitors().unwrap().remove(0);
        assert_eq!(
            [&inhibitor.what, &inhibitor.who, &inhibitor.why, &inhibitor.mode],
            ["shutdown:sleep", "me", "a reason", "block"]
        );
        assert_eq!(inhibitor.uid, 0);
        assert_eq!(manager.unit_of_process(inhibitor.pid).unwrap(), "held.service");
        assert_eq!(logind.list_sessions().unwrap(), []);
        // What pam_systemd calls at a login: uid, leader, service, type, class, desktop, seat, vtnr, tty, display, …
        let leader = inhibitor.pid.to_string();
        let login = Command::new("busctl")
            .args([
                "--system",
                "call",
                "org.freedesktop.login1",
                "/org/freedesktop/login1",
            ])
            .args([
                "org.freedesktop.login1.Manager",
                "CreateSession",
                "uusssssussbssa(sv)",
            ])
            .args([
                "0", &leader, "login", "tty", "user", "", "", "0", "ttyS0", "", "false", "", "", "0",
            ])
            .output()
            .unwrap();
        assert!(
            login.status.success(),
            "{}",
            String::from_utf8_lossy(&login.stderr)
        );
        let session = logind.list_sessions().unwrap().remove(0);
        assert_eq!(
            [&session.user, &session.tty, &session.kind, &session.class],
            ["root", "ttyS0", "tty", "user"]
        );
        assert_eq!((session.uid, session.leader), (0, inhibitor.pid));
        // The session lasts as long as a file descriptor in the answer, which busctl has closed.
        wait_until(|| {
            logind
                .list_sessions()
                .unwrap()
                .iter()
                .all(|session| !session.holds_console())
        });

        let mut jobs = manager.jobs();
        jobs.set_patience(Patience {
            first: Duration::from_millis(50),
            again: Duration::from_mins(1),
        });
        jobs.submit(Verb::Start, "wait.service", Mode::Replace).unwrap();
        let finished = jobs.wait(soon(), &mut |_| fs::write("/run/go", "").unwrap());
        assert_eq!(
            (&finished[0].outcome, finished[0].inferred),
            (&Outcome::Done, false)
        );
        manager.daemon_reload(soon()).unwrap();
        manager.daemon_reexec(soon()).unwrap();
        assert_eq!(outcome(&mut manager, Verb::Stop, "wait.service"), Outcome::Done);
        // The bus goes down under both: the private socket doesn't care.
        assert_eq!(outcome(&mut private, Verb::Stop, "dbus.socket"), Outcome::Done);
        assert_eq!(outcome(&mut private, Verb::Stop, "dbus.service"), Outcome::Done);
        manager.set_call_timeout(Duration::from_millis(500));
        assert!(manager.version().unwrap_err().is_absent());
    });
}
