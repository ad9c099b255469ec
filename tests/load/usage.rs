//! What a process takes of the machine.

use std::{fmt, fs, time::Instant};

use crate::support::service::Service;

/// The unit of `/proc/<pid>/stat` on every Linux that runs here.
const TICKS_A_SECOND: f64 = 100.0;

/// A measurement that has begun.
pub struct Usage {
    process_id: u32,
    ticks: f64,
    began_at: Instant,
}

/// What was used.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Of one core.
    pub cores: f64,
    pub cpu_micros_an_operation: f64,
    /// Resident, in MiB.
    pub resident_mib: f64,
}

impl Usage {
    pub fn begin(service: &Service) -> Self {
        Self::of(service.process_id())
    }

    pub fn of(process_id: u32) -> Self {
        Self { process_id, ticks: ticks(process_id), began_at: Instant::now() }
    }

    pub fn end(self, operations: usize) -> Used {
        let seconds = (ticks(self.process_id) - self.ticks) / TICKS_A_SECOND;
        #[expect(clippy::cast_precision_loss, reason = "far below what a double counts")]
        let operations = operations.max(1) as f64;
        Used {
            cores: seconds / self.began_at.elapsed().as_secs_f64(),
            cpu_micros_an_operation: seconds * 1e6 / operations,
            resident_mib: resident_kib(self.process_id) / 1024.0,
        }
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, cpu_micros_an_operation, resident_mib } = self;
        write!(
            f,
            "the service took {cores:.2} cores, {cpu_micros_an_operation:.0} us an operation, and \
             {resident_mib:.0} MiB"
        )
    }
}

/// User and system time.
fn ticks(process_id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap();
    // Behind the name, which may hold anything, stands the third field.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum()
}

fn resident_kib(process_id: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process_id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
