//! The gate: the only code that holds commands, directories and an HTTP client for guests.
