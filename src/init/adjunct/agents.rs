//! Passphrases by systemd's password agents (<https://systemd.io/PASSWORD_AGENTS/>): whoever serves the person answers,
//! be it plymouth, systemd's agent on every console of the kernel, or one that somebody wrote.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Where agents look for questions.
const QUESTIONS: &str = "/run/systemd/ask-password";
/// Where answers are sent to. Nobody but root gets into it, so nobody else can answer.
const SOCKETS: &str = "/run/keel/ask-password";
/// A longer answer isn't one (the protocol's messages are passphrases).
const ANSWER_MAX: usize = 4096;

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::init) enum Reply {
    /// A passphrase.
    Passphrase(Zeroizing<Vec<u8>>),
    /// The person doesn't want to answer, or the agent can't ask.
    Cancelled,
}

/// The agents, and the question that they're asked.
#[derive(Debug)]
pub(in crate::init) struct Agents {
    questions: PathBuf,
    sockets: PathBuf,
    asked: u32,
    question: Option<Question>,
}

/// A question. Dropped, it is taken back.
#[derive(Debug)]
struct Question {
    socket: UnixDatagram,
    socket_path: PathBuf,
    file: PathBuf,
}

impl Agents {
    /// The agents of this machine.
    pub(in crate::init) fn of_machine() -> Agents {
        Agents::new(Path::new(QUESTIONS), Path::new(SOCKETS))
    }

    fn new(questions: &Path, sockets: &Path) -> Agents {
        Agents {
            questions: questions.to_owned(),
            sockets: sockets.to_owned(),
            asked: 0,
            question: None,
        }
    }

    /// Asks, in place of what was asked before.
    pub(in crate::init) fn ask(&mut self, text: &str) -> io::Result<()> {
        self.question = None;
        self.asked += 1;
        let private = |mode| {
            let mut builder = DirBuilder::new();
            let _ = builder.recursive(true).mode(mode);
            builder
        };
        private(0o755).create(&self.questions)?;
        private(0o700).create(&self.sockets)?;
        // Whatever the umask was when it was made.
        fs::set_permissions(&self.sockets, PermissionsExt::from_mode(0o700))?;
        // Each with a name of its own: a late answer to an old question must not reach a new one.
        let name = format!("keel-{}-{}", std::process::id(), self.asked);
        let socket_path = self.sockets.join(&name);
        let socket = UnixDatagram::bind(&socket_path)?;
        let question = Question {
            socket,
            socket_path,
            file: self.questions.join(format!("ask.{name}")),
        };
        question.socket.set_nonblocking(true)?;
        // Agents look at files whose names begin with `ask.` when they're renamed: it must be complete then.
        let draft = self.questions.join(format!("tmp.{name}"));
        let written = File::create(&draft)
            .and_then(|mut file| file.write_all(question.text(text).as_bytes()))
            .and_then(|()| fs::set_permissions(&draft, PermissionsExt::from_mode(0o644)))
            .and_then(|()| fs::rename(&draft, &question.file));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written?;
        self.question = Some(question);
        Ok(())
    }

    /// Takes the question back.
    pub(in crate::init) fn withdraw(&mut self) {
        self.question = None;
    }

    /// What becomes readable when somebody has answered.
    pub(in crate::init) fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.question.as_ref().map(|question| question.socket.as_fd())
    }

    /// The answer, when there is one. The question is over then.
    pub(in crate::init) fn reply(&mut self) -> Option<Reply> {
        let question = self.question.as_ref()?;
        // Reserved in full, so that growing leaves no copy behind.
        let mut buffer = Zeroizing::new(vec![0; ANSWER_MAX]);
        let length = question.socket.recv(&mut buffer).ok()?;
        let reply = parse(buffer.get(..length)?)?;
        self.question = None;
        Some(reply)
    }
}

impl Question {
    /// The file that agents read.
    fn text(&self, text: &str) -> String {
        format!(
            "[Ask]\nPID={}\nSocket={}\nAcceptCached=0\nEcho=0\nNotAfter=0\nMessage={}\n",
            std::process::id(),
            self.socket_path.display(),
            one_line(text),
        )
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(&self.socket_path);
    }
}

/// `+` and passphrases, each ended by a NUL byte, or `-`. `None` for anything else.
fn parse(datagram: &[u8]) -> Option<Reply> {
    match datagram.split_first()? {
        (b'+', rest) => {
            let first = rest.split(|&byte| byte == 0).next().unwrap_or_default();
            Some(Reply::Passphrase(Zeroizing::new(first.to_vec())))
        }
        (b'-', _) => Some(Reply::Cancelled),
        _ => None,
    }
}

/// Text that is one value of the file: a line break would end it, and a backslash at its end join the next line.
fn one_line(text: &str) -> String {
    let text = text.trim().trim_end_matches(':');
    let replaced = |c: char| if c.is_control() || c == '\\' { '?' } else { c };
    text.chars().map(replaced).chain([':']).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Place {
        _directory: tempfile::TempDir,
        questions: PathBuf,
        agents: Agents,
    }

    fn place() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let questions = directory.path().join("questions");
        let agents = Agents::new(&questions, &directory.path().join("sockets"));
        Place {
            _directory: directory,
            questions,
            agents,
        }
    }

    /// The value of a key in the only question.
    fn value(questions: &Path, key: &str) -> String {
        let files: Vec<_> = fs::read_dir(questions)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        let [file] = files.as_slice() else {
            panic!("{files:?}")
        };
        assert!(file.file_name().unwrap().to_str().unwrap().starts_with("ask."));
        let text = fs::read_to_string(file).unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .unwrap()
            .to_owned()
    }

    fn answer(questions: &Path, with: &[u8]) {
        let sender = UnixDatagram::unbound().unwrap();
        let _ = sender.send_to(with, value(questions, "Socket")).unwrap();
    }

    #[test]
    fn an_answer_ends_the_question() {
        let mut place = place();
        place.agents.ask("Passphrase for a (/dev/b): ").unwrap();
        assert_eq!(value(&place.questions, "Message"), "Passphrase for a (/dev/b):");
        assert_eq!(place.agents.reply(), None);
        answer(&place.questions, b"+correct horse\0");
        assert!(place.agents.poll_fd().is_some());
        assert_eq!(
            place.agents.reply(),
            Some(Reply::Passphrase(Zeroizing::new(b"correct horse".to_vec())))
        );
        assert!(place.agents.poll_fd().is_none());
        assert_eq!(fs::read_dir(&place.questions).unwrap().count(), 0);
    }

    #[test]
    fn nonsense_is_passed_over_and_a_refusal_is_told() {
        let mut place = place();
        place.agents.ask("Passphrase:").unwrap();
        for nonsense in [b"".as_slice(), b"?", b"\0+x"] {
            answer(&place.questions, nonsense);
            assert_eq!(place.agents.reply(), None);
        }
        answer(&place.questions, b"-");
        assert_eq!(place.agents.reply(), Some(Reply::Cancelled));
    }

    #[test]
    fn a_new_question_takes_the_place_of_the_old_one() {
        let mut place = place();
        place.agents.ask("one").unwrap();
        let old = value(&place.questions, "Socket");
        place.agents.ask("two\nSocket=/elsewhere\\").unwrap();
        assert_eq!(value(&place.questions, "Message"), "two?Socket=/elsewhere?:");
        assert_ne!(value(&place.questions, "Socket"), old);
        assert!(!Path::new(&old).exists());
        place.agents.withdraw();
        assert_eq!(fs::read_dir(&place.questions).unwrap().count(), 0);
    }

    // What systemd's and plymouth's agents answer with.
    #[test]
    fn systemds_own_agent_answers() {
        use std::process::{Command, Stdio};
        let mut place = place();
        let agents = &mut place.agents;
        agents.ask("Passphrase for a test").unwrap();
        let socket = agents.question.as_ref().unwrap().socket_path.clone();
        let mut reply = Command::new("/usr/lib/systemd/systemd-reply-password")
            .args(["1".as_ref(), socket.as_os_str()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        reply.stdin.take().unwrap().write_all(b"correct horse").unwrap();
        assert!(reply.wait().unwrap().success());
        assert_eq!(
            agents.reply(),
            Some(Reply::Passphrase(Zeroizing::new(b"correct horse".to_vec())))
        );
    }
}
