//! The programs this one starts: each in a process group of its own, with a log, and never left
//! behind.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, anyhow};
use futures::future::select_all;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// The service drains within 8 s of the signal; whatever is not gone then is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const LOG_TAIL_LINES: usize = 20;
const LOG_TAIL_BYTES: u64 = 64 * 1024;

/// The children that run, oldest first.
pub struct Children {
    stack_dir: PathBuf,
    running: Vec<Running>,
}

struct Running {
    name: &'static str,
    child: Child,
}

impl Children {
    pub fn new(stack_dir: &Path) -> Self {
        Self { stack_dir: stack_dir.to_owned(), running: Vec::new() }
    }

    /// Starts a program whose output goes to `<stack dir>/log/<name>.log`, and leaves the record by
    /// which ops/dev/stack.sh finds it if this process is killed.
    ///
    /// # Errors
    /// It cannot be started, or the log cannot be written.
    pub fn start(
        &mut self,
        name: &'static str,
        mut command: Command,
        port: u16,
    ) -> anyhow::Result<()> {
        let log = create_log(&self.stack_dir, name)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share a log")?)
            .stderr(log)
            // Ctrl-C at the terminal goes to this process only, which then stops them in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the {name}"))?;
        if let Some(id) = child.id() {
            record(&self.stack_dir, name, id, port)?;
        }
        self.running.push(Running { name, child });
        Ok(())
    }

    /// Waits until a child ends by itself, and says which and what it said last. Never ends while
    /// there is no child.
    pub async fn first_exit(&mut self) -> anyhow::Error {
        if self.running.is_empty() {
            return std::future::pending().await;
        }
        let (status, index, _) =
            select_all(self.running.iter_mut().map(|running| Box::pin(running.child.wait()))).await;
        let name = self.running.remove(index).name;
        self.forget(name);
        let status =
            status.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
        let log = log_path(&self.stack_dir, name);
        anyhow!(
            "the {name} stopped by itself ({status}); its log {} ends with\n{}",
            log.display(),
            log_tail(&log)
        )
    }

    /// Ends every child, the youngest first; kills what has not ended in time.
    pub async fn stop(&mut self) {
        while let Some(Running { name, mut child }) = self.running.pop() {
            terminate(&child);
            if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
                eprintln!("dev: the {name} did not end within {STOP_TIMEOUT:?} and is killed");
                if let Err(error) = child.kill().await {
                    eprintln!("dev: the {name} cannot be killed: {error}");
                }
            }
            self.forget(name);
        }
    }

    /// A record that stays behind is harmless: it names a process that is gone.
    fn forget(&self, name: &str) {
        let file = record_path(&self.stack_dir, name);
        if let Err(error) = fs::remove_file(&file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("dev: cannot remove {}: {error}", file.display());
        }
    }
}

fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, Signal::TERM)
    {
        eprintln!("dev: cannot signal process {pid:?}: {error}");
    }
}

/// `<pid> <start time> <port>`, as ops/dev/process.sh reads it. Without `/proc` there is no record.
fn record(stack_dir: &Path, name: &str, id: u32, port: u16) -> anyhow::Result<()> {
    let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else {
        return Ok(());
    };
    let Some(started) = start_time(&stat) else {
        return Ok(());
    };
    let file = record_path(stack_dir, name);
    fs::create_dir_all(stack_dir.join("run"))
        .and_then(|()| fs::write(&file, format!("{id} {started} {port}\n")))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Field 22 of proc(5) stat, counted from behind the name, which may hold spaces.
fn start_time(stat: &str) -> Option<&str> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)
}

fn record_path(stack_dir: &Path, name: &str) -> PathBuf {
    stack_dir.join("run").join(format!("{name}.pid"))
}

/// Where a program's output goes.
pub fn log_path(stack_dir: &Path, name: &str) -> PathBuf {
    stack_dir.join("log").join(format!("{name}.log"))
}

/// A new, empty log.
///
/// # Errors
/// The folder cannot be written.
pub fn create_log(stack_dir: &Path, name: &str) -> anyhow::Result<File> {
    let path = log_path(stack_dir, name);
    fs::create_dir_all(stack_dir.join("log"))
        .and_then(|()| File::create(&path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The last lines of a log, for an error message.
pub fn log_tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|error| format!("(unreadable: {error})"));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_that_ends_by_itself_is_named_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut children = Children::new(folder.path());
        children.start("steady", shell("exec tail -f /dev/null"), 1).unwrap();
        children.start("hasty", shell("echo it is too hot here; exit 3"), 2).unwrap();

        let error = children.first_exit().await.to_string();
        children.stop().await;

        assert!(error.contains("the hasty stopped by itself (exit status: 3)"), "{error}");
        assert!(error.ends_with("it is too hot here"), "{error}");
    }

    #[tokio::test]
    async fn stopping_lets_a_child_end_in_its_own_way_and_leaves_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let mut children = Children::new(folder.path());
        let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done";
        children.start("polite", shell(script), 1).unwrap();
        let log = log_path(folder.path(), "polite");
        assert!(record_path(folder.path(), "polite").exists());
        until(|| log_tail(&log).contains("up")).await;

        children.stop().await;

        assert_eq!(log_tail(&log), "up\nbye");
        assert!(!record_path(folder.path(), "polite").exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_will_not_end_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut children = Children::new(folder.path());
        children.start("stubborn", shell("trap '' TERM; while :; do sleep 0.02; done"), 1).unwrap();
        let id = children.running[0].child.id().unwrap();

        children.stop().await;

        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn the_start_time_is_found_behind_a_name_with_spaces() {
        let fields: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("42 (a (b) c) {}", fields.join(" "));
        assert_eq!(start_time(&stat), Some("22"));
    }

    #[test]
    fn only_the_last_lines_of_a_log_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let lines: Vec<String> = (1..=100).map(|line| line.to_string()).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(log_tail(&path), lines[80..].join("\n"));
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    async fn until(is_true: impl Fn() -> bool) {
        let wait = async {
            while !is_true() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    }
}
