//! Messages for the operator: [`info!`](crate::info), [`warn!`](crate::warn), [`debug!`](crate::debug).

/// How much a message matters.
pub use crate::bindings::bkhost::snapshot::log::Level;

/// Write one message. The macros are shorter.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::bkhost::snapshot::log::write(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::log(level, message);
}

/// A message for whoever looks for a fault.
#[macro_export]
macro_rules! debug {
    ($($argument:tt)*) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($argument)*)) };
}

/// A message that is worth knowing.
#[macro_export]
macro_rules! info {
    ($($argument:tt)*) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($argument)*)) };
}

/// A message about something that is not as it should be; the run goes on.
#[macro_export]
macro_rules! warn {
    ($($argument:tt)*) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($argument)*)) };
}
