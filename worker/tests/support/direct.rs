//! A worker process that a test speaks with by itself, frame by frame.
#![allow(dead_code, reason = "each test uses a part")]

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::process::{Pid, Signal, kill_process};
use sconce::device::wire::{Contents, Hello, LoadOrder, LoadSettings, Opening, Order, Report, Socket};
use tokio::time::{Duration, Instant};

/// How long what must happen may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const AREA_BYTES: u64 = 65_536;

/// A worker and its control socket.
pub(crate) struct Direct {
    child: Child,
    pub(crate) control: Option<Socket>,
}

impl Direct {
    /// Starts one, and reads its hello.
    pub(crate) fn start(arguments: &[&str]) -> (Self, Hello) {
        let (mut ours, theirs) = Socket::pair().expect("a pair");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sconce-worker"));
        command.args(arguments).stdin(Stdio::from(theirs.into_end())).stderr(Stdio::piped());
        let child = command.spawn().expect("a process");
        // The command keeps the worker's end open, which would hide its death.
        drop(command);
        let report = ours.receive_within(PATIENCE).expect("a frame");
        let Some(Report::Hello(hello)) = report else { unreachable!("{report:?}") };
        (Self { child, control: Some(ours) }, hello)
    }

    pub(crate) fn control(&mut self) -> &mut Socket {
        self.control.as_mut().expect("a socket that is open")
    }

    /// Has it load a model that gives back bytes as it gets them, and gives its channel and its staging area.
    pub(crate) fn load_identity(&mut self, folder: &std::path::Path) -> (Socket, OwnedFd) {
        let text = "[[tensor]]\ninput = \"x\"\noutput = \"y\"\ndtype = \"UINT8\"\ndims = [-1]\n";
        std::fs::write(folder.join("identity.toml"), text).expect("written");
        let file = area(SealFlags::SHRINK);
        let mut channel = self.load(folder, &file);
        assert!(matches!(channel.receive_within(PATIENCE), Ok(Some(Opening::Loaded(_)))));
        (channel, file)
    }

    /// Orders it to load a folder, and gives its channel.
    pub(crate) fn load(&mut self, folder: &std::path::Path, file: &OwnedFd) -> Socket {
        let (ours, theirs) = Socket::pair().expect("a pair");
        let path = folder.as_os_str().as_encoded_bytes().to_vec();
        let contents = Contents::Folder { path: path.clone(), roots: vec![path] };
        let order = Order::Load(LoadOrder { name: "test".to_owned(), contents, settings: LoadSettings::default() });
        self.control().send_with(&order, &[theirs.as_fd(), file.as_fd()]).expect("sent");
        ours
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("a process");
    }

    /// What it has logged, after it has ended.
    pub(crate) fn logged(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().expect("a log that nobody has read");
        stderr.read_to_string(&mut text).expect("text");
        text
    }

    /// How it ends, which it does without being killed.
    pub(crate) fn ending(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the worker has not ended");
            std::thread::yield_now();
        }
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// The file of a staging area.
pub(crate) fn area(seals: SealFlags) -> OwnedFd {
    let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a file");
    ftruncate(&file, AREA_BYTES).expect("room");
    fcntl_add_seals(&file, seals).expect("sealed");
    file
}

/// A folder that is removed in the end.
pub(crate) struct Scratch(pub(crate) std::path::PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sconce-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}
