//! What a guest may use up: memory, CPU time, messages.

use std::fmt;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::engine::TICK;
use crate::capability::manifest::Limits;

/// The modules a component is made of, instantiated; their memories and tables.
const MAX_INSTANCES: usize = 100;
/// What one element of a table takes.
const TABLE_ELEMENT: usize = size_of::<usize>();

/// Why the host ended a call, where the trap alone does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The memory limit.
    Memory,
    /// The CPU time of one call.
    Cpu,
    /// The run was cancelled.
    Cancelled,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "the memory limit was reached",
            Self::Cpu => "the limit of CPU time was reached",
            Self::Cancelled => "the call was cancelled",
        })
    }
}

impl std::error::Error for Stop {}

/// Counts what one instance uses.
pub(super) struct Meter {
    memory_limit: usize,
    memory: usize,
    /// What was allowed last, in case it then fails.
    pending: usize,
    cpu_limit: Duration,
    /// CPU time of this call, in ticks.
    ticks: u32,
    cancel: CancellationToken,
}

impl Meter {
    pub(super) fn new(limits: &Limits, cancel: CancellationToken) -> Self {
        Self {
            memory_limit: usize::try_from(limits.memory.0).unwrap_or(usize::MAX),
            memory: 0,
            pending: 0,
            cpu_limit: limits.cpu.0,
            ticks: 0,
            cancel,
        }
    }

    /// A call begins: its CPU time is counted from nothing.
    pub(super) fn start_call(&mut self) {
        self.ticks = 0;
    }

    /// A tick of the clock found the guest running. Ticks that pass while the host works for it are not seen here.
    pub(super) fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if self.cancel.is_cancelled() {
            return Err(Stop::Cancelled.into());
        }
        self.ticks = self.ticks.saturating_add(1);
        if TICK.saturating_mul(self.ticks) > self.cpu_limit {
            return Err(Stop::Cpu.into());
        }
        Ok(UpdateDeadline::Yield(1))
    }

    fn grow(&mut self, bytes: usize) -> wasmtime::Result<bool> {
        let wanted = self.memory.saturating_add(bytes);
        if wanted > self.memory_limit {
            return Err(Stop::Memory.into());
        }
        self.memory = wanted;
        self.pending = bytes;
        Ok(true)
    }

    fn grow_failed(&mut self) {
        self.memory = self.memory.saturating_sub(self.pending);
        self.pending = 0;
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.grow_failed();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.grow_failed();
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_INSTANCES
    }
}

/// How much an instance may still write.
pub(super) struct Allowance {
    left: u64,
    /// Messages that were dropped.
    pub(super) dropped: u64,
}

impl Allowance {
    /// What a message costs besides its text: many empty ones are a flood too.
    const FIXED: u64 = 64;

    pub(super) fn new(bytes: u64) -> Self {
        Self { left: bytes, dropped: 0 }
    }

    /// Whether a message of so many bytes may be written.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let cost = Self::FIXED.saturating_add(bytes as u64);
        match self.left.checked_sub(cost) {
            Some(left) if self.dropped == 0 => {
                self.left = left;
                true
            }
            // Once one is missing, so is the rest: what was said last is then known to be complete up to there.
            _ => {
                self.dropped = self.dropped.saturating_add(1);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::units::{Size, Span};

    fn meter(memory: u64, cpu: Duration) -> Meter {
        Meter::new(&Limits { memory: Size(memory), cpu: Span(cpu), ..Limits::default() }, CancellationToken::new())
    }

    #[test]
    fn memory_is_counted_over_all_memories_and_tables() {
        let mut meter = meter(1 << 20, Duration::MAX);
        assert!(meter.memory_growing(0, 512 << 10, None).unwrap());
        assert!(meter.memory_growing(0, 256 << 10, None).unwrap());
        assert!(meter.table_growing(0, (128 << 10) / TABLE_ELEMENT, None).unwrap());
        assert!(meter.memory_growing(256 << 10, 384 << 10, None).unwrap());
        let error = meter.memory_growing(0, 1, None).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Stop::Memory));
    }

    #[test]
    fn growth_that_failed_is_given_back() {
        let mut meter = meter(1 << 20, Duration::MAX);
        assert!(meter.memory_growing(0, 1 << 20, None).unwrap());
        meter.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        assert!(meter.memory_growing(0, 1 << 20, None).unwrap());
        assert!(meter.memory_growing(0, usize::MAX, None).is_err());
    }

    #[test]
    fn cpu_time_is_per_call() {
        let mut meter = meter(0, TICK * 3);
        for _ in 0..2 {
            meter.start_call();
            for _ in 0..3 {
                meter.tick().unwrap();
            }
            assert_eq!(meter.tick().err().unwrap().downcast_ref(), Some(&Stop::Cpu));
        }
    }

    #[test]
    fn a_cancelled_guest_is_stopped_at_the_next_tick() {
        let cancel = CancellationToken::new();
        let mut meter = Meter::new(&Limits::default(), cancel.clone());
        meter.tick().unwrap();
        cancel.cancel();
        assert_eq!(meter.tick().err().unwrap().downcast_ref(), Some(&Stop::Cancelled));
    }

    #[test]
    fn empty_messages_are_a_flood_too() {
        let mut allowance = Allowance::new(640);
        let written = (0..1000).filter(|_| allowance.take(0)).count();
        assert_eq!((written, allowance.dropped), (10, 990));
    }
}
